"""Train experiments: model configs × folds, on one label revision.

Takes the clip table, folds/<name>/ and the prepared features; runs what they need first. `revision=` left out: the
one that `all` chose last, r0 where it has not.
Leaves oof/<name>/<experiment>/fold<k>.{parquet,json,safetensors,jsonl}: finished folds are not made again,
a killed fold goes on from its last epoch.
"""

import make_folds
import prepare
from tonestack import cli
from tonestack.base import parts
from tonestack.config.call import Experiment, Run
from tonestack.ensemble import leaderboard
from tonestack.labels import revisions
from tonestack.training import queue


def run(run: Run) -> list[Experiment]:
    """Train all folds of this call that are not up to date; return the experiments."""
    experiments = run.experiments(revisions.chosen(run.folds))
    prepare.run(run, [experiment.config.frontend for experiment in experiments])
    make_folds.run(run)
    queue.run_all(run, queue.pending(run, experiments))
    task = parts.find("tasks", run.data.task)
    if hasattr(task, "trained"):
        task.trained(run, experiments)
    leaderboard.update(run)
    return experiments


if __name__ == "__main__":
    cli.main(run, __doc__)
