"""Searching settings of one model: trials of an Optuna study, pruned fold by fold and epoch by epoch.

A trial is an experiment like any other, its files in cache/<name>/tune/<key>/<trial>/, keyed by its settings: a
killed one goes on in its last epoch, and settings that come up twice are trained once. Workers share a journal
file; a lock that the system drops with its process tells which trials are under way.
"""

import fcntl
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tonestack.base import journals, workers
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, write_csv, write_text
from tonestack.base.section import Section
from tonestack.config import layers
from tonestack.config.call import Call, Experiment
from tonestack.features.prepare import prepare
from tonestack.features.store import Store
from tonestack.tables import metrics
from tonestack.training import queue
from tonestack.training.job import FoldJob, config_fingerprint

import numpy as np
import optuna
import pandas as pd
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

optuna.logging.set_verbosity(logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
EPOCHS = 10_000  # a step is fold x EPOCHS + epoch; a whole fold is reported as its last
ASKED = 2.0  # seconds in which a trial that was asked for must be locked
Scores = list[tuple[float, int]]  # of the folds so far, and their verified clips
WARM_UP = 5  # trials that reach a step before later ones are pruned there


class Range(Section):
    """What one setting may be: `low` to `high` (log: over orders of magnitude; int where both are), or `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None
    choices: tuple[Any, ...] | None = None

    def distribution(self, key: str) -> BaseDistribution:
        """As Optuna says it; choices that are lists travel as their YAML text."""
        if self.choices is not None:
            if self.low is not None or self.high is not None or not self.choices:
                raise UserError(f"{key}: give choices: [...], or low and high")
            return CategoricalDistribution([yaml_text(choice) for choice in self.choices])
        if self.low is None or self.high is None or self.low > self.high or (self.log and self.low <= 0):
            raise UserError(f"{key}: give low <= high (with log: above 0), or choices: [...]")
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)


class TuneConfig(Section):
    """configs/tune/<model>.yaml: a range for any key of the model config."""

    ranges: dict[str, Range]
    start: tuple[dict[str, Any], ...] = ({},)  # tried first; {}: the config as it is
    prune: bool = True


def yaml_text(value: Any) -> str:
    """A value on one line, as it could be typed."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).replace("\n...", "").strip()


def load(model: str) -> tuple[str, TuneConfig]:
    """The ranges of a model, or those for all models."""
    name = model if model in layers.available("tune") else "default"
    place, values = layers.layer("tune", name)
    return place, TuneConfig.parse(values, place)


@dataclass(frozen=True)
class Tuning:
    """One model's search on one competition."""

    call: Call
    model: str
    settings: TuneConfig
    space: dict[str, BaseDistribution]

    @classmethod
    def of(cls, call: Call, model: str) -> "Tuning":
        """Read the ranges and check every key by trying the first value of each."""
        place, settings = load(model)
        space = {key: one.distribution(f"{place}: {key}") for key, one in settings.ranges.items()}
        tuning = cls(call, model, settings, space)
        for key, distribution in space.items():
            tuning.experiment({key: first_value(distribution)})
        return tuning

    @cached_property
    def folder(self) -> Path:
        """One folder for one question: model, its settings, ranges, labels and folds."""
        base = self.call.experiment(self.model)
        ranges = self.settings.model_dump(mode="json")
        table = self.call.labels.folds[["clip_id", "label", "verified", "fold"]].astype(str).to_numpy().tolist()
        key = fingerprint([config_fingerprint(base), base.revision, ranges, self.call.data.metric, table])
        return self.call.cache / "tune" / f"{self.model}-{key}"

    def experiment(self, params: dict[str, Any]) -> Experiment:
        """The experiment of a trial: the call's own overrides, then the trial's."""
        changed = self.call.but(overrides=merged(self.call.words.overrides, params))
        return replace(changed.experiment(self.model), variant=f"t{fingerprint(params)}")

    def study(self) -> optuna.Study:
        """Open or create the study."""
        storage = journals.storage(self.folder / "study.journal")
        return optuna.create_study(study_name="tune", direction="maximize", storage=storage, load_if_exists=True)

    @property
    def metric(self) -> metrics.Metric:
        return metrics.resolve(self.call.data.metric)

    def lock(self, params: dict[str, Any]) -> Path:
        """The file that a trial's worker holds."""
        return self.folder / f"t{fingerprint(params)}.lock"

    def jobs(self, params: dict[str, Any]) -> list[FoldJob]:
        """The folds of a trial, their files in the trial's folder; features that are missing are made."""
        experiment, call = self.experiment(params), self.call
        try:
            Store.open(call.cache, experiment.config.frontend, call.data.audio)
        except UserError:
            prepare(call.competition(), [experiment.config.frontend], call.data.audio, call.cache, workers.decoders())
        folder = self.folder / str(experiment.variant)
        return [replace(job, folder=folder) for job in queue.build(self.call, [experiment])]


def merged(tree: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Overrides with a trial's dotted keys put in; text that came from choices is read as YAML."""
    result = layers.merge([("", tree)])
    for key, value in params.items():
        branch: dict[str, Any] = {}
        leaf: Any = yaml.safe_load(value) if isinstance(value, str) else value
        for part in reversed(key.split(".")):
            branch = {part: leaf}
            leaf = branch
        result = layers.merge([("", result), ("", branch)])
    return result


def first_value(distribution: BaseDistribution) -> Any:
    """Some value of a distribution."""
    return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low  # type: ignore[attr-defined]


def work(tuning: Tuning, trials: int) -> optuna.Study:
    """Run trials until `trials` are finished, those of other and of earlier workers counted."""
    study = tuning.study()
    revive(study, tuning)
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
            else:  # another worker is at these very settings
                study.tell(trial, state=TrialState.FAIL)
    return study


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """TPE, seeded by the trial's number, so that workers differ and a single one repeats itself."""
    mixed = int(fingerprint([seed, number]), 16) % 2**32
    return optuna.samplers.TPESampler(seed=mixed, multivariate=True, constant_liar=True, n_startup_trials=8)


def defaults(tuning: Tuning) -> dict[str, Any]:
    """The model config's own values of the keys that are tuned, where they lie in the range."""
    whole = tuning.call.experiment(tuning.model).config.model_dump(mode="json")
    values: dict[str, Any] = {}
    for key, distribution in tuning.space.items():
        value: Any = whole
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        value = yaml_text(value) if isinstance(distribution, CategoricalDistribution) else value
        if value is not None and _lies_in(distribution, value):
            values[key] = value
    return values


def _lies_in(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution._contains(distribution.to_internal_repr(value)))


def run_trial(study: optuna.Study, trial: optuna.Trial, tuning: Tuning) -> None:
    """Train a trial's folds; tell its score, or that it was pruned or failed."""
    print(f"trial {trial.number}: " + " ".join(f"{key}={value}" for key, value in trial.params.items()), flush=True)
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
        study.tell(trial, tuning.metric.sign * mean_score(scores))
        print(f"trial {trial.number}: {tuning.metric.name} {mean_score(scores):.4f}", flush=True)


def mean_score(scores: Scores) -> float:
    """Mean of fold scores, weighted by their verified clips."""
    return float(np.average([s for s, _ in scores], weights=[n for _, n in scores]))


def fold_score(study: optuna.Study, trial: optuna.Trial, tuning: Tuning, job: FoldJob, before: Scores) -> Scores:
    """The scores so far with one more fold's, trained or read. Raises `TrialPruned`."""

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
    """Report a value; give a trial up that is below the median of the trials that came as far."""
    trial.report(value, step)
    if not tuning.settings.prune:
        return
    others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
    reached = [t.intermediate_values[step] for t in others if step in t.intermediate_values]
    if len(reached) >= WARM_UP and value < np.median(reached):
        fold, epoch = divmod(step, EPOCHS)
        place = f"after fold {fold}" if epoch == EPOCHS - 1 else f"in fold {fold}, epoch {epoch}"
        raise optuna.TrialPruned(place)


def train(job: FoldJob, watch: Callable[[int, float], None]) -> dict[str, Any]:
    """Train one fold. Where it stops early, `watch(epoch, inner loss)` is told every epoch and may raise.

    Nothing but the scored fold could judge the epochs of a fixed schedule, so those are never watched.
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
    """Whether some process works on a trial; one that has just been asked for counts."""
    if trial.datetime_start and (datetime.now() - trial.datetime_start).total_seconds() < ASKED:
        return True
    with locked(tuning.lock(trial.params)) as free:
        return not free


def revive(study: optuna.Study, tuning: Tuning) -> None:
    """Trials that died with their workers are started again; they go on from their last epoch."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not alive(tuning, trial):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: complete, pruned, or failed for a reason of their own."""
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t for t in study.get_trials(deepcopy=False) if t.state in done or "error" in t.user_attrs]


def running(study: optuna.Study, tuning: Tuning) -> int:
    """Trials that living workers are at."""
    return sum(alive(tuning, t) for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def fold_scores(trial: FrozenTrial) -> dict[str, tuple[float, int]]:
    """A trial's scores by fold, with their numbers of verified clips."""
    return {key: tuple(value) for key, value in trial.user_attrs.items() if key.startswith("fold")}


def nested_score(trials: list[FrozenTrial], sign: float) -> float:
    """What choosing among the trials is worth: every fold scored by the trial that the other folds choose."""
    by_trial = [fold_scores(t) for t in trials]
    scores = []
    for fold in by_trial[0]:
        others = [mean_score([s for key, s in one.items() if key != fold]) for one in by_trial if len(one) > 1]
        if not others:
            return float("nan")
        scores.append(by_trial[int(np.argmax(sign * np.array(others)))][fold])
    return mean_score(scores)


def shown(table: pd.DataFrame, rows: int = 10) -> pd.DataFrame:
    """The best rows as text, numbers to four digits."""
    return table.head(rows).map(lambda v: f"{v:.4g}" if isinstance(v, float) else str(v))


def table(study: optuna.Study, tuning: Tuning) -> pd.DataFrame:
    """One row a trial: number, state, cv, settings, scores by fold; the best first."""
    rows = []
    for trial in finished(study):
        value = (
            tuning.metric.sign * trial.value
            if trial.state == TrialState.COMPLETE and trial.value is not None
            else np.nan
        )
        folds_ = {key: score for key, (score, _) in fold_scores(trial).items()}
        rows.append({"trial": trial.number, "state": trial.state.name.lower(), "cv": value, **trial.params, **folds_})
    frame = pd.DataFrame(rows)
    return frame.sort_values("cv", ascending=not tuning.metric.greater_is_better, na_position="last")


def report(study: optuna.Study, tuning: Tuning) -> list[Path]:
    """Write the trials' table and the best settings, ready to paste; return both files."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    folder = tuning.call.reports / "tune"
    path = folder / f"{tuning.model}.csv"
    write_csv(path, table(study, tuning))
    if not complete:
        return [path]
    best = max(complete, key=lambda t: (t.value or 0.0, -t.number))
    nested = nested_score(complete, tuning.metric.sign)
    shown_best = f"CV {tuning.metric.sign * (best.value or 0.0):.4f}"
    lines = [
        f"# {tuning.model} on {tuning.call.name}: trial {best.number}, the best of {len(complete)} complete trials",
        f"# ({len(finished(study))} in all). {shown_best} is flattered by the choice;",
        f"# nested (each fold scored by the trial that the other folds choose): {nested:.4f}.",
        "# As words: " + " ".join(f"'{key}={value}'" for key, value in best.params.items()) + " variant=tuned",
        str(yaml.safe_dump(merged({}, best.params), sort_keys=False)).rstrip(),
    ]
    write_text(path.with_suffix(".yaml"), "\n".join(lines) + "\n")
    return [path, path.with_suffix(".yaml")]
