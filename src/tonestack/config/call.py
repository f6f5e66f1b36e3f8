"""One call of a verb: its words, the resolved configs and the folders that they name."""

import os
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.config import band, clip_length, layers, pretrained
from tonestack.config.layers import PROJECT
from tonestack.labels.label_tables import LabelTables
from tonestack.settings.data_config import DataConfig
from tonestack.settings.model_config import INVERTIBLE, ModelConfig, Preset
from tonestack.settings.words import Words, parse
from tonestack.tables.competition import Competition
from tonestack.tables.metrics import resolve
from tonestack.tables.rows import Rows
from tonestack.tasks import Task

import pandas as pd

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Experiment:
    """One model config × seed × label revision; its name keys everything that comes of it."""

    model: str
    config: ModelConfig
    variant: str | None = None
    seed: int = 0
    revision: str = "r0"

    @property
    def name(self) -> str:
        """`<model>[-<variant>][-s<seed>]@<revision>`."""
        variant = f"-{self.variant}" if self.variant else ""
        seed = f"-s{self.seed}" if self.seed else ""
        return f"{self.model}{variant}{seed}@{self.revision}"


@dataclass(frozen=True)
class Call:
    """The words of one call, resolved. Folders are below the working tree, or `TONESTACK_HOME` if that is set."""

    words: Words
    data: DataConfig
    whole_preset: Preset

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> "Call":
        """Parse and resolve `key=value` words; all mistakes are `UserError`."""
        words = layers.of_task(parse(arguments))
        data, preset = layers.load_data(words)
        return cls(words, data, preset)

    @property
    def name(self) -> str:
        """Folder name of this competition's files."""
        return self.words.name or self.words.data

    @property
    def seed(self) -> int:
        """Seed of networks and searches."""
        return self.words.seed

    @cached_property
    def preset(self) -> Preset:
        """The preset as this machine takes it."""
        return layers.fitted(self.whole_preset, self.words)

    @cached_property
    def home(self) -> Path:
        """Folder that holds cache/, folds/, oof/, submissions/ and reports/."""
        return Path(os.environ.get("TONESTACK_HOME", PROJECT)).absolute()

    @property
    def cache(self) -> Path:
        """Decoded audio and features; always safe to delete."""
        return self.home / "cache" / (self.words.cache or self.name)

    @property
    def stages(self) -> Path:
        """Records of the stages' inputs and outputs; always safe to delete."""
        return self.home / "cache" / self.name / "stages"

    @property
    def folds(self) -> Path:
        """Folds and label revisions."""
        return self.home / "folds" / self.name

    @property
    def oof(self) -> Path:
        """Prediction tables, one folder per experiment."""
        return self.home / "oof" / self.name

    @property
    def submissions(self) -> Path:
        """Submission files and their log."""
        return self.home / "submissions" / self.name

    @property
    def reports(self) -> Path:
        """Pages and pictures."""
        return self.home / "reports" / self.name

    @property
    def exports(self) -> Path:
        """ONNX models, one folder per experiment."""
        return self.home / "exports" / self.name

    @property
    def bundle(self) -> Path:
        """Files for an offline code competition."""
        return self.home / "bundles" / self.name

    @cached_property
    def task(self) -> Task:
        """The task: the meaning of the models' outputs."""
        return tasks.find(self.data.task)

    @property
    def even_levels(self) -> bool:
        """True if OOF rows of different folds are brought to one level (`fold_levels`).

        A metric that compares the classes of one row would learn from the levels in which folds a class is.
        """
        how, metric = self.data.fold_levels, resolve(self.data.metric)
        return how == "even" or (how == "auto" and not self.task.one_label and metric.compares_rows)

    @property
    def options(self) -> Any:
        """The data config's section of the task's name; None where it has none."""
        return getattr(self.data, self.data.task, None)

    @cached_property
    def labels(self) -> LabelTables:
        """Folds table, corrections and label revisions."""
        return LabelTables(self.folds)

    @property
    def rows(self) -> Rows:
        """The rows and columns of this competition's prediction tables."""
        return self.task.rows(self.folds, self.labels.folds, self.competition())

    @cached_property
    def root(self) -> Path:
        """The competition's folder; a relative one is looked up from where the user stands, then the home."""
        given = Path(self.data.root).expanduser()
        return given if given.is_absolute() or given.exists() else self.home / given

    @cached_property
    def _reader(self) -> Any:
        return parts.find("readers", self.data.reader["name"])

    def competition(self) -> Competition:
        """Read the competition's csv files (no audio is opened)."""
        return self._competition

    @cached_property
    def _competition(self) -> Competition:
        params = parts.part_params("readers", self.data.reader, f"configs/data/{self.words.data}.yaml: reader")
        competition: Competition = self._reader.read(params, self.root)
        return self._with_doubts(competition.checked(several=not self.task.one_label))

    def _with_doubts(self, competition: Competition) -> Competition:
        """Note where the submission's format cannot hold what the metric scores: one of the two is mistaken."""
        form, metric = competition.submission, resolve(self.data.metric)
        notes = competition.notes
        if form is not None and form.style in ("label", "labels"):
            most = min(metric.k, len(competition.classes)) if metric.ranked and metric.module.DEFAULT_K else 1
            if most > form.k:
                notes += (f"metric={metric.name} counts {most} labels per row, the submission has {form.k}",)
            elif not metric.ranked and self.task.one_label:
                notes += (f"metric={metric.name} needs probabilities, the submission has labels (reader.style)",)
        return replace(competition, notes=notes)

    @cached_property
    def rate(self) -> int | None:
        """The recordings' sample rate in Hz, for which frontends are laid out; None: they stay as configured."""
        return self._of_recordings(self.data.sample_rate, band.native_rate)

    @cached_property
    def clip_seconds(self) -> float | None:
        """The longest recordings' length, for which models with `crop.fit` are laid out; None: as configured."""
        return self._of_recordings(self.data.clip_seconds, clip_length.longest)

    def _of_recordings(self, given: T | str, read: Callable[[Competition], T | None]) -> T | None:
        """What the data config gives: a number, `auto`, which reads it from the recordings, or `any`, which is None."""
        if not isinstance(given, str):
            return given
        return read(self.competition()) if given == "auto" and self.root.is_dir() else None

    @property
    def scoring(self) -> Path | pd.DataFrame | None:
        """The test labels: the user's `scoring=`, or the competition's own: a csv in `root`, or what its names say."""
        if self.words.scoring:
            path = Path(self.words.scoring).expanduser()
            if not path.is_file():
                raise UserError(f"scoring={self.words.scoring}: no such file")
            return path
        params = parts.part_params("readers", self.data.reader, "reader")
        find = getattr(self._reader, "scoring_table", None)
        return find(params, self.root) if find else None

    def experiments(self, revision: str = "r0") -> list[Experiment]:
        """The experiments of this call: `model=` or the preset's models, on one label revision."""
        names = list(dict.fromkeys(self.words.model or self.preset.models))
        absent = {name: layers.lacking(name, self.preset, self.words) for name in names}
        known = {key for keys in absent.values() for key in keys if any(key not in other for other in absent.values())}
        if known:  # settings that some of the models have go to those
            without = [name for name in names if absent[name]]
            warnings.warn(f"{', '.join(sorted(known))}: not for {', '.join(without)}, which lack it", stacklevel=2)
        return [self.experiment(name, revision, known & set(absent[name])) for name in names]

    def experiment(self, model: str, revision: str = "r0", not_for_it: Collection[str] = ()) -> Experiment:
        """One model of this call on one label revision; `not_for_it`: settings of other models alone."""
        words = layers.without(self.words, not_for_it)
        settings = layers.load_model(model, self.preset, words, {"name": self.task.loss})
        fixed = pretrained.fixes_frontend(settings.network)
        if self.rate and not fixed and "sample_rate" not in self.words.overrides.get("frontend", {}):
            settings = settings.model_copy(update={"frontend": band.fitted(settings.frontend, self.rate)})
        if settings.crop.fit and self.clip_seconds:
            settings = clip_length.fitted(settings, self.clip_seconds, self.words.overrides)
        if settings.frontend["name"] == "embedding":
            frontend = pretrained.laid_out(settings.frontend, self.data.embedding)
            settings = settings.model_copy(update={"frontend": frontend})
        if settings.training.distil.epochs:
            settings = pretrained.with_teacher(model, settings, self.data.embedding)
        loss = settings.loss["name"]
        if not self.task.one_label and getattr(parts.find("losses", loss), "ONE_LABEL", False):
            raise UserError(
                f"{model}: loss '{loss}' is for one label per clip, not for task {self.data.task}; give another"
            )
        check_values(model, settings)
        return Experiment(model, settings, self.words.variant, self.words.seed, self.words.revision or revision)

    def but(self, **words: Any) -> "Call":
        """The same call with other words, resolved anew."""
        changed = Words.parse(self.words.model_dump() | words, "command line")
        data, preset = layers.load_data(changed)
        return replace(self, words=changed, data=data, whole_preset=preset)

    def plain(self) -> "Call":
        """The same call without the words for its own models: pair models and scouts run as configured."""
        own, _ = layers.split_overrides(self.words)
        return self.but(model=None, fold=None, variant=None, overrides=own)


def check_values(model: str, config: ModelConfig) -> None:
    """Refuse to level crops, or to mix sounds, by numbers that are no decibels or powers: `UserError`."""
    network, augment, frontend = config.network, config.augment, config.frontend["name"]
    if check := getattr(parts.find("models", network["name"]), "check", None):
        check(parts.part_params("models", network, f"{model}: network"), config.frontend)
    values = getattr(parts.find("frontends", frontend), "VALUES", None)
    if config.crop.normalise == "level" and values != "dB":
        raise UserError(
            f"{model}: crop.normalise=level is for decibels, which the frontend '{frontend}' does not hold; "
            "set crop.normalise=dataset"
        )
    powers = augment.mixes and augment.mix == "power"
    if not powers and not augment.background:
        return
    setting = "augment.mix=power" if powers else "augment.background"
    if values is None:
        known = [name for name in parts.names("frontends") if hasattr(parts.find("frontends", name), "VALUES")]
        raise UserError(
            f"{model}: {setting} mixes sounds, which the frontend '{frontend}' does not hold; {', '.join(known)} do"
        )
    if powers and values == "dB" and config.crop.normalise not in INVERTIBLE:
        raise UserError(
            f"{model}: augment.mix=power: powers cannot be had from crops normalised by '{config.crop.normalise}'; "
            f"set crop.normalise to one of {', '.join(INVERTIBLE)}, or augment.mix=values"
        )
