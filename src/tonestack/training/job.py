"""A fold job: all that a process needs to make one fold of one experiment, and its receipt once it is made."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, read_json, write_text
from tonestack.base.workers import cores
from tonestack.config import layers
from tonestack.config.call import Call, Experiment
from tonestack.labels.pool_labels import PoolLabels
from tonestack.labels.training_labels import Labels
from tonestack.settings.data_config import AudioParams

import numpy as np

RETRIES = 3  # times that an engine starts lost jobs again before it counts as the user's problem


@dataclass(frozen=True)
class FoldJob:
    """Everything one process needs to make one fold; plain data, so that it can travel.

    held_out, test: ids of the rows to predict: clips, or what the task's rows are. truth, scored: r0 targets (H, C) of
    the held-out rows and which of them count (the verified ones). outputs: columns of the table where they are not the
    classes that the network learns. options: the data config's section of the task's name; its `settings()` are what
    predictions depend on. apart: what held-out rows that do not count are called where they are scored apart, or empty.
    groups: clip to group, for inner splits. columns: what the model reads of the clip table, each clip to value.
    inputs: fingerprints that make a finished fold stale.
    test: the test clips; taught: those of them whose cross-fitted pseudo-labels it learns, which it repeats.
    backgrounds: clips without labels that may be mixed under crops. initial: weights from which a network starts.
    train_score: also score the model on what it has trained on. keep_weights: write what the model has learnt; the
    file is empty otherwise.
    heard: further clips that a distilled network hears before it learns labels.
    level_on: unlabelled recordings in whose windows of `window` seconds the level of the fold's model is measured,
    where test rows are few.
    pool: soft labels of unlabelled recordings, pieces of which are mixed into a network's crops.
    """

    experiment: Experiment
    fold: int
    task: str
    metric: str
    classes: tuple[str, ...]
    cache: Path
    folder: Path
    audio: AudioParams
    labels: Labels
    held_out: list[str]
    truth: np.ndarray
    scored: np.ndarray
    test: list[str]
    taught: frozenset[str] = frozenset()
    outputs: tuple[str, ...] = ()
    more_metrics: tuple[str, ...] = ()
    options: Any = None
    apart: str = ""
    groups: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    threads: int = 1
    initial: Path | None = None
    backgrounds: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    train_score: bool = False
    keep_weights: bool = True
    level_on: tuple[str, ...] = ()
    window: float = 5.0
    pool: PoolLabels | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        """The columns of its table, which its json names."""
        return self.outputs or self.classes

    @property
    def name(self) -> str:
        """The job's name on the terminal."""
        return f"{self.experiment.name} fold {self.fold}"

    @property
    def history_path(self) -> Path:
        """JSON lines, one per epoch; the progress bar reads them, too."""
        return self.folder / f"fold{self.fold}.jsonl"

    @property
    def state_path(self) -> Path:
        """The state from which a killed run goes on; removed once the fold is finished."""
        return self.folder / f"fold{self.fold}.state.safetensors"

    @property
    def distil_path(self) -> Path:
        """The same for the epochs before the labels; it holds their end until the fold is finished."""
        return self.folder / f"fold{self.fold}.distil.state.safetensors"

    def history_writer(self) -> Callable[[dict[str, float]], None]:
        """Return a function that adds one epoch's entry to the history file, which it starts anew."""
        lines: list[str] = []

        def add(entry: dict[str, float]) -> None:
            lines.append(json.dumps({"experiment": self.experiment.name, "fold": self.fold, **entry}))
            write_text(self.history_path, "\n".join(lines) + "\n")

        return add

    @property
    def epochs(self) -> int:
        """Epochs of a full run."""
        training = self.experiment.config.training
        return training.distil.epochs + training.plan(len(self.labels.clip_ids))[0]

    def finished(self) -> dict[str, Any] | None:
        """The receipt if the fold was made from the same inputs; None if it has to be made."""
        receipt = read_receipt(self.folder, self.fold)
        return receipt if receipt and receipt.get("inputs") == self.inputs else None


def read_receipt(folder: Path, fold: int) -> dict[str, Any] | None:
    """The json of a finished fold whose three files are there."""
    path = folder / f"fold{fold}.json"
    whole = all(path.with_suffix(suffix).is_file() for suffix in (".json", ".parquet", ".safetensors"))
    return dict(read_json(path)) if whole else None


def config_fingerprint(experiment: Experiment) -> str:
    """Fingerprint of the settings and the seed that an experiment's name stands for."""
    return fingerprint([experiment.config.model_dump(mode="json"), experiment.seed])


def changed_settings(receipt: dict[str, Any], experiment: Experiment) -> list[str]:
    """The settings in which a finished fold's config differs from the experiment's, with both values; none: the same.

    A setting that did not exist when the fold was made has its default there.
    """
    if receipt.get("config_fingerprint") in (None, config_fingerprint(experiment)):
        return []
    now = experiment.config.model_dump(mode="json")
    once = getattr(parts.find("models", experiment.config.network["name"]), "FITTED_ONCE", False)
    idle = [f"training.{key}:" for key in layers.EPOCHS if once]  # presets once gave epochs to what has none
    found = layers.differences(layers.completed(receipt.get("config", {})), now)
    # patches that chose on all clips are made again, as their inputs differ, too
    return [one for one in found if not one.startswith((*idle, "network.columns: [] there"))]


def refuse_changed_meaning(folder: Path, experiment: Experiment) -> None:
    """Refuse to train under a name whose finished folds were made with other settings."""
    for path in sorted(folder.glob("fold*.json")):
        if changed := changed_settings(read_json(path), experiment):
            raise UserError(
                f"{folder} was trained with other settings ({'; '.join(changed[:3])}); give variant=WORD "
                f"or name=WORD to keep both (two presets under one name, say), or delete that folder"
            )


def threads_and_jobs(call: Call) -> tuple[int, int]:
    """Threads per job and number of jobs at once: five folds side by side share the cores.

    The threads depend on the machine alone, never on the number of jobs left, so that a rerun is bit-identical.
    """
    threads = max(1, cores() // 5)
    return threads, call.words.jobs or max(1, cores() // threads)
