"""The tuning study of one model: ranges of its settings, the experiment and the jobs of a trial.

A trial is an experiment like any other. Its files lie in cache/<name>/tune/<key>/<trial>/ and are keyed by its
settings: a killed trial resumes in its last epoch, and settings that come up twice are trained once. Workers share a
journal file. A lock that the system drops with its process tells which trials are under way.
"""

import logging
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tonestack.base import journals, workers
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
from tonestack.base.section import Section
from tonestack.config import layers
from tonestack.config.call import Call, Experiment
from tonestack.features.prepare import prepare
from tonestack.features.store import Store
from tonestack.tables import metrics
from tonestack.training import queue
from tonestack.training.job import FoldJob, config_fingerprint

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field

optuna.logging.set_verbosity(logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class Range(Section):
    """The range of one setting: `low` to `high` (log: over orders of magnitude; int if both are), or `choices`."""

    low: int | float | None = Field(None, description="least value")
    high: int | float | None = Field(None, description="largest value")
    log: bool = Field(False, description="search orders of magnitude")
    step: int | float | None = Field(None, description="step between values")
    choices: tuple[Any, ...] | None = Field(None, description="values to choose from")

    def distribution(self, key: str) -> BaseDistribution:
        """Return the Optuna distribution; choices that are lists become their YAML text."""
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

    ranges: dict[str, Range] = Field(description="key of the model config: its range")
    start: tuple[dict[str, Any], ...] = Field(({},), description="settings tried first; {}: the config as it is")
    prune: bool = Field(True, description="stop unpromising trials early")


def yaml_text(value: Any) -> str:
    """Return a value as YAML on one line, as it is typed."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).replace("\n...", "").strip()


def load(model: str) -> tuple[str, TuneConfig]:
    """Return the ranges of a model, or the default ones, with their source."""
    name = model if model in layers.available("tune") else "default"
    source, values = layers.layer("tune", name)
    return source, TuneConfig.parse(values, source)


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
        source, settings = load(model)
        space = {key: one.distribution(f"{source}: {key}") for key, one in settings.ranges.items()}
        tuning = cls(call, model, settings, space)
        for key, distribution in space.items():
            tuning.experiment({key: first_value(distribution)})
        return tuning

    @cached_property
    def folder(self) -> Path:
        """The folder of exactly this model, its settings, ranges, labels and folds."""
        base = self.call.experiment(self.model)
        ranges = self.settings.model_dump(mode="json")
        table = self.call.labels.folds[["clip_id", "label", "verified", "fold"]].astype(str).to_numpy().tolist()
        learnt = self.call.labels.revision(base.revision).astype(str).to_numpy().tolist()
        labels = [base.revision, fingerprint(learnt), table]
        key = fingerprint([config_fingerprint(base), ranges, self.call.data.metric, self.call.words.fold, labels])
        return self.call.cache / "tune" / f"{self.model}-{key}"

    def experiment(self, params: dict[str, Any]) -> Experiment:
        """Return the experiment of a trial: the call's own overrides, then the trial's."""
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
        """Return the lock file that a trial's worker holds."""
        return self.folder / f"t{fingerprint(params)}.lock"

    def jobs(self, params: dict[str, Any]) -> list[FoldJob]:
        """Return the fold jobs of a trial, with files in the trial's folder; missing features are made."""
        experiment, call = self.experiment(params), self.call
        frontends = experiment.config.frontends
        try:
            for spec in frontends:
                Store.open(call.cache, spec, call.data.audio)
        except UserError:
            prepare(call.competition(), frontends, call.data.audio, call.cache, workers.decoders())
        folder = self.folder / str(experiment.variant)
        return [replace(job, folder=folder) for job in queue.build(self.call, [experiment])]


def merged(tree: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return overrides with a trial's dotted keys; text is read as YAML."""
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
    """Return one value of a distribution."""
    return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low  # type: ignore[attr-defined]


def defaults(tuning: Tuning) -> dict[str, Any]:
    """Return the model config's own values of the tuned keys, if they lie in the range."""
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
