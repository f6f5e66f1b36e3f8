"""A trained experiment read back from oof/<name>/<experiment>/, to predict other clips."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tonestack import tasks
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.deploy import runtimes
from tonestack.features.store import Store
from tonestack.networks import weights
from tonestack.settings.model_config import ModelConfig
from tonestack.tables import oof
from tonestack.training import learners
from tonestack.training.learners import Restored
from tonestack.training.learners.network import RestoredNetwork

import numpy as np
import torch
from torch import Tensor

KEYS = {"config": dict, "classes": list, "checksums": dict}  # keys that a receipt of weights must have
KEPT = 1 << 28  # bytes of weights kept in memory per experiment; a larger one is read again at each use


class TrainedExperiment:
    """The finished folds of one experiment. Weights are read, and checked, when a fold is first used."""

    def __init__(
        self,
        folder: Path,
        task: str,
        device: torch.device,
        folds: Sequence[int] | None = None,
        runtime: str = "torch",
    ) -> None:
        receipts = oof.receipts(folder)
        self.runtime = runtime if device.type == "cpu" else "torch"
        self.folder, self.device = folder, device
        self.task = tasks.find(task)
        self._task_name = task
        self.folds = [k for k in receipts if folds is None or k in folds]
        if not self.folds:
            raise UserError(
                f"{folder}: no finished fold{f' {list(folds)}' if folds else ''}; train the experiment first"
            )
        self.receipts: dict[int, dict[str, Any]] = {k: read_json(receipts[k], KEYS) for k in self.folds}
        self._loaded: dict[int, Restored] = {}

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.folder.name

    @cached_property
    def settings(self) -> ModelConfig:
        """The experiment's model config."""
        receipt = self.receipts[self.folds[0]]
        return ModelConfig.parse(receipt["config"], str(self.folder / f"fold{self.folds[0]}.json"))

    @property
    def classes(self) -> tuple[str, ...]:
        """The columns of its predictions."""
        return tuple(self.receipts[self.folds[0]]["classes"])

    @property
    def learner(self) -> str:
        """`network` or `forest`."""
        return learners.name_of(self.settings.network)

    def tensors(self, fold: int) -> dict[str, Tensor]:
        """Read one fold's weights; a missing or damaged file is a `UserError`."""
        return weights.read_fold(self.folder / f"fold{fold}.safetensors", self.receipts[fold]["classes"])

    def fold(self, fold: int) -> Restored:
        """Return one fold's model."""
        if fold in self._loaded:
            return self._loaded[fold]
        tensors = self.tensors(fold)
        learner = learners.find(self.settings.network)
        model: Restored = learner.restore(self.settings, tensors, len(self.classes), self._task_name, self.device)
        if self.runtime != "torch" and isinstance(model, RestoredNetwork):
            model.model = runtimes.Other(model.model, runtimes.graphs_of(self.folder, fold), self.runtime)
        if sum(t.nbytes for t in tensors.values()) * len(self.folds) <= KEPT:
            self._loaded[fold] = model
        return model

    def probabilities(self, model: Restored, store: Store, crops: int | None = None) -> np.ndarray:
        """Return a fold's probabilities (N, C) float32 of the store's clips with audio."""
        logs = model.log_probabilities(store, store.clips.index.tolist(), crops)
        rows: np.ndarray = self.task.probabilities(logs)
        return rows.astype(np.float32)
