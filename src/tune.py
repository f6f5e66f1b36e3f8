"""Search a model's settings: trials=N trials, pruned early, scored by cross-validation on verified clips.

Takes  configs/tune/<model>.yaml (else default.yaml): a range for any key of the model config, and what train takes.
Leaves reports/<name>/tune/<model>.csv, one row a trial, and <model>.yaml, the best settings ready to paste.
Any number of calls may work on one study at once (jobs=N starts N here); one that was killed goes on.
"""

from tonestack import environment  # noqa: F401  # isort: skip

import joblib

import make_folds
import prepare
from tonestack import cli, jobs, leaderboard, tuning
from tonestack.run import Run


def run(run: Run) -> None:
    """Tune every model of this call."""
    prepare.run(run)
    make_folds.run(run)
    threads, at_once = jobs.threads_and_jobs(run)
    for experiment in run.experiments():
        one = tuning.Tuning.of(run, experiment.model)
        study = one.study()
        workers = min(at_once, max(0, run.words.trials - len(tuning.finished(study))))
        with joblib.parallel_config("loky", inner_max_num_threads=threads):
            joblib.Parallel(max(1, workers))(joblib.delayed(work)(run, experiment.model) for _ in range(workers))
        print(leaderboard.aligned(tuning.shown(tuning.table(study, one))))
        files = tuning.report(study, one)
        print("\n".join(str(file) for file in files))
        if files[-1].suffix == ".yaml":
            print(files[-1].read_text())


def work(run: Run, model: str) -> None:
    """One worker's share, in any process."""
    tuning.work(tuning.Tuning.of(run, model), run.words.trials)


if __name__ == "__main__":
    cli.main(run, __doc__)
