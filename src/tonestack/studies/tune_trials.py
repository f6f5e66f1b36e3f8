"""The trials of a tuning study: run, pruned fold by fold and epoch by epoch, resumed where their process died."""

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
from tonestack.studies.tuning import Tuning, defaults
from tonestack.training.job import FoldJob

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

EPOCHS = 10_000  # a step is fold x EPOCHS + epoch; a whole fold is reported as its last
ASKED = 2.0  # seconds in which a trial that was asked for must be locked
WARM_UP = 5  # trials that reach a step before later ones are pruned there
Scores = list[tuple[float, int]]  # of the folds so far, and their verified clips


def work(tuning: Tuning, trials: int) -> optuna.Study:
    """Run trials until `trials` are finished, those of other and earlier workers included."""
    study = tuning.study()
    revive(study, tuning)
    started = time.monotonic()
    before = len(finished(study))
    while len(finished(study)) + running(study, tuning) < trials:
        number = len(study.get_trials(deepcopy=False))
        study.sampler = sampler(tuning.call.seed, number)
        for start in tuning.settings.start if number == 0 else ():
            study.enqueue_trial(
                {key: value for key, value in (defaults(tuning) | start).items() if key in tuning.space}
            )
        trial = study.ask(tuning.space)
        with locked(tuning.lock(trial.params)) as mine:
            if mine:
                run_trial(study, trial, tuning)
                say_progress(study, tuning, trials, time.monotonic() - started, before)
            else:  # another worker runs the same settings
                study.tell(trial, state=TrialState.FAIL)
    return study


def say_progress(study: optuna.Study, tuning: Tuning, trials: int, seconds: float, before: int) -> None:
    """Print how many trials are done, the best so far and the time left; `before`: trials done when this began."""
    done = finished(study)
    scored = [trial for trial in done if trial.state == TrialState.COMPLETE and trial.value is not None]
    best = max(scored, key=lambda trial: float(trial.value or 0), default=None)
    text = f"tune: {len(done)} of {trials} trials"
    if best is not None:
        score = tuning.metric.sign * float(best.value or 0)
        text += f", best so far {score:.4f} (trial {best.number}: {short(best.params)})"
    if len(done) > before and len(done) < trials:
        text += f", about {(trials - len(done)) * seconds / (len(done) - before) / 60:.0f} min left"
    print(text, flush=True)


def short(params: dict[str, Any]) -> str:
    """Return settings as words, numbers with four digits."""
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in params.items()}
    return " ".join(f"{key}={value}" for key, value in shown.items())


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return TPE, seeded by the trial's number: workers differ, and a single worker is reproducible."""
    mixed = int(fingerprint([seed, number]), 16) % 2**32
    return optuna.samplers.TPESampler(seed=mixed, multivariate=True, constant_liar=True, n_startup_trials=8)


def run_trial(study: optuna.Study, trial: optuna.Trial, tuning: Tuning) -> None:
    """Train a trial's folds; record its score, or that it was pruned or failed."""
    print(f"trial {trial.number}: {short(trial.params)}", flush=True)
    try:
        scores: Scores = []
        for job in tuning.jobs(trial.params):
            scores = fold_score(study, trial, tuning, job, scores)
    except optuna.TrialPruned as pruned:
        study.tell(trial, state=TrialState.PRUNED)
        print(f"trial {trial.number}: pruned {pruned}", flush=True)
    except UserError as error:  # settings that cannot be trained: a loss that is not finite, a crop that is too short
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
        print(f"trial {trial.number}: failed: {error}", flush=True)
    else:
        tell_score(study, trial, tuning, mean_score(scores))


def tell_score(study: optuna.Study, trial: optuna.Trial, tuning: Tuning, score: float) -> None:
    """Record a trial's score; without one, that it failed, so that it counts and the study ends."""
    if np.isnan(score):
        trial.set_user_attr("error", f"{tuning.metric.name} cannot be had of any fold")
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, tuning.metric.sign * score)
    print(f"trial {trial.number}: {tuning.metric.name} {score:.4f}", flush=True)


def mean_score(scores: Scores) -> float:
    """Return the mean of fold scores, weighted by their verified clips; NaN ones are left out, NaN if none is left."""
    known = [(s, n) for s, n in scores if not np.isnan(s)]
    return float(np.average([s for s, _ in known], weights=[n for _, n in known])) if known else float("nan")


def fold_score(study: optuna.Study, trial: optuna.Trial, tuning: Tuning, job: FoldJob, before: Scores) -> Scores:
    """Return the scores so far with one more fold's, trained or read. Raises `TrialPruned`."""

    def watch(epoch: int, inner_loss: float) -> None:
        prune_at(study, trial, tuning, job.fold * EPOCHS + epoch, -inner_loss)

    receipt = job.finished() or train(job, watch)
    if not job.scored.any():
        return before
    scores = [*before, (float(receipt["metrics"][tuning.call.data.metric]), int(job.scored.sum()))]
    trial.set_user_attr(f"fold{job.fold}", list(scores[-1]))
    prune_at(study, trial, tuning, job.fold * EPOCHS + EPOCHS - 1, tuning.metric.sign * mean_score(scores))
    return scores


def prune_at(study: optuna.Study, trial: optuna.Trial, tuning: Tuning, step: int, value: float) -> None:
    """Report a value; prune a trial below the median of the trials that reached the step. NaN says nothing."""
    if np.isnan(value):
        return
    trial.report(value, step)
    if not tuning.settings.prune:
        return
    others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
    reached = [v for t in others if not np.isnan(v := t.intermediate_values.get(step, np.nan))]
    if len(reached) >= WARM_UP and value < np.median(reached):
        fold, epoch = divmod(step, EPOCHS)
        where = f"after fold {fold}" if epoch == EPOCHS - 1 else f"in fold {fold}, epoch {epoch}"
        raise optuna.TrialPruned(where)


def train(job: FoldJob, watch: Callable[[int, float], None]) -> dict[str, Any]:
    """Train one fold. With early stopping, `watch(epoch, inner loss)` is called every epoch and may raise.

    A fixed schedule has no inner loss, and the scored fold must not prune, so it is not watched.
    """
    from tonestack.training import fold_job  # torch is imported where training happens

    if job.experiment.config.training.stop != "early":
        return fold_job.run(job)
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(job, sender), daemon=True)
    process.start()
    seen = 0
    try:
        while not receiver.poll(0.3) and process.is_alive():
            seen = _tell(job, watch, seen)
        answer = receiver.recv() if receiver.poll() else UserError(f"{job.name}: its process has died")
        _tell(job, watch, seen)
    finally:
        process.terminate()
        process.join()
    if isinstance(answer, UserError):
        raise answer
    return dict(answer)


def _child(job: FoldJob, sender: Any) -> None:
    from tonestack.training import fold_job

    try:
        sender.send(fold_job.run(job))
    except UserError as error:
        sender.send(error)


def _tell(job: FoldJob, watch: Callable[[int, float], None], seen: int) -> int:
    lines = job.history_path.read_text().splitlines() if job.history_path.is_file() else []
    for line in lines[seen:]:
        entry = json.loads(line)
        if "inner_loss" in entry:  # not so before the labels are learnt
            watch(int(entry["epoch"]), float(entry["inner_loss"]))
    return len(lines)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a trial's lock; False where another process holds it. The system drops it with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def alive(tuning: Tuning, trial: FrozenTrial) -> bool:
    """True if a process works on a trial, or has just asked for it."""
    if trial.datetime_start and (datetime.now() - trial.datetime_start).total_seconds() < ASKED:
        return True
    with locked(tuning.lock(trial.params)) as free:
        return not free


def revive(study: optuna.Study, tuning: Tuning) -> None:
    """Start the trials again whose workers died; they resume from their last epoch."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not alive(tuning, trial):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finished trials: complete, pruned, or failed by their own settings."""
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t for t in study.get_trials(deepcopy=False) if t.state in done or "error" in t.user_attrs]


def running(study: optuna.Study, tuning: Tuning) -> int:
    """Count the trials of living workers."""
    return sum(alive(tuning, t) for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def fold_scores(trial: FrozenTrial) -> dict[str, tuple[float, int]]:
    """Return a trial's scores by fold, with their numbers of verified clips; folds whose score is NaN are left out."""
    scores = {key: tuple(value) for key, value in trial.user_attrs.items() if key.startswith("fold")}
    return {key: value for key, value in scores.items() if not np.isnan(value[0])}
