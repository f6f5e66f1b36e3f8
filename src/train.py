"""Train experiments: model configs × folds, on one label revision.

Takes the clip table, folds/<name>/ and the prepared features; runs what they need first. `revision=` left out: the
one that `all` chose last, r0 where it has not.
Leaves oof/<name>/<experiment>/fold<k>.{parquet,json,safetensors,jsonl}: finished folds are not made again,
a killed fold goes on from its last epoch.
"""

import make_folds
import prepare
from tonestack import cli
from tonestack.config.call import Call, Experiment
from tonestack.labels import revisions
from tonestack.training import queue


def run(call: Call) -> list[Experiment]:
    """Train all folds of this call that are not up to date; return the experiments."""
    experiments = call.experiments(revisions.chosen(call.folds))
    prepare.run(call, [spec for experiment in experiments for spec in experiment.config.frontends])
    make_folds.run(call)
    queue.run_all(call, queue.pending(call, experiments))
    call.task.trained([call.oof / experiment.name for experiment in experiments], call.competition())
    return experiments


if __name__ == "__main__":
    cli.main(run, __doc__)
