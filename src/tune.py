"""Search a model's settings: trials=N trials, pruned early, scored by cross-validation on verified clips.

Takes  configs/tune/<model>.yaml (else default.yaml): a range for any key of the model config, and what train takes.
Leaves reports/<name>/tune/<model>.csv, one row per trial, and <model>.yaml, the best settings ready to paste.
Any number of calls may work on one study at once (jobs=N starts N here); a killed one resumes.
"""

import os
import sys

import make_folds
import prepare
from tonestack import cli
from tonestack.base import console
from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.base.workers import end_with
from tonestack.config.call import Call
from tonestack.studies import tune_results, tune_trials, tuning
from tonestack.training.job import threads_and_jobs

import joblib
import optuna
from joblib.externals.loky.process_executor import TerminatedWorkerError
from pydantic import Field

DEATHS = 3  # of workers, before lack of memory is assumed


class TuneWords(Section):
    """The word that only this stage has."""

    trials: int = Field(50, ge=1, description="settings to try; those of earlier calls count")


def run(call: Call, words: TuneWords) -> None:
    """Tune every model of this call."""
    prepare.run(call)
    make_folds.run(call)
    threads, at_once = threads_and_jobs(call)
    for experiment in call.experiments():
        one = tuning.Tuning.of(call, experiment.model)
        study = one.study()
        with joblib.parallel_config("loky", inner_max_num_threads=threads):
            search(call, one, study, words.trials, at_once)
        print(console.aligned(tune_results.shown(tune_results.table(study, one))))
        files = tune_results.report(study, one)
        print("\n".join(str(file) for file in files))
        if files[-1].suffix == ".yaml":
            print(files[-1].read_text())


def search(call: Call, one: tuning.Tuning, study: optuna.Study, trials: int, at_once: int) -> None:
    """Let workers run all trials; if one is killed, others resume its trial from its last epoch."""
    for deaths in range(1, DEATHS + 1):
        workers = min(at_once, max(0, trials - len(tune_trials.finished(study))))
        try:
            calls = (joblib.delayed(work)(call, one.model, trials, os.getpid()) for _ in range(workers))
            joblib.Parallel(max(1, workers))(calls)
            return
        except TerminatedWorkerError:
            print(f"tune: a worker was killed ({deaths} of {DEATHS}); its trial is started again", file=sys.stderr)
    raise UserError(f"tune: workers were killed {DEATHS} times, perhaps for lack of memory; give jobs=1")


def work(call: Call, model: str, trials: int, caller: int) -> None:
    """Run one worker, in any process."""
    end_with(caller)
    tune_trials.work(tuning.Tuning.of(call, model), trials)


if __name__ == "__main__":
    cli.main(run, __doc__, own=TuneWords)
