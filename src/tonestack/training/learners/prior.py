"""Class shares of the training clips, in all or for each value of columns of the clip table; no audio is used."""

import json
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.features.store import Store
from tonestack.settings.model_config import ModelConfig
from tonestack.training.job import FoldJob

import numpy as np
import torch
from torch import Tensor


class FittedPrior:
    """Shares: value to (C,); `shares` of a value never seen are those of all clips."""

    epochs = 1

    def __init__(self, values: dict[str, str], shares: dict[str, np.ndarray], whole: np.ndarray) -> None:
        self.values, self.shares, self.whole = values, shares, whole

    @property
    def params(self) -> int:
        """Numbers that were counted."""
        return len(self.whole) * (1 + len(self.shares))

    def tensors(self) -> dict[str, Tensor]:
        """Shares of all clips first, then of each value; the values as bytes of json."""
        table = np.stack([self.whole, *self.shares.values()])
        names = json.dumps(list(self.shares)).encode()
        return {"shares": torch.from_numpy(table), "values": torch.frombuffer(bytearray(names), dtype=torch.uint8)}

    def log_probabilities(self, clip_ids: list[str]) -> np.ndarray:
        """Log of the shares (N, C)."""
        return np.log([self.shares.get(self.values.get(name, ""), self.whole) for name in clip_ids])

    def done(self) -> None:
        """Nothing is left behind."""


class RestoredPrior:
    """The shares of all clips: what is left of a baseline where nothing is known of a clip."""

    def __init__(self, whole: np.ndarray) -> None:
        self.whole = whole

    def log_probabilities(self, store: Store, clip_ids: list[str], crops: int | None = None) -> np.ndarray:
        """Log of the shares (N, C)."""
        return np.log(np.tile(self.whole, (len(clip_ids), 1)))


def restore(
    settings: ModelConfig, tensors: dict[str, Tensor], classes: int, task: str, device: torch.device
) -> RestoredPrior:
    """The shares for recordings outside the clip table, whose columns are not known."""
    return RestoredPrior(tensors["shares"][0].numpy())


def fit(job: FoldJob, store: Store) -> FittedPrior:
    """Count; a value's shares are drawn towards those of all clips by `smoothing` clips' worth."""
    params: Any = parts.part_params("models", job.experiment.config.network, "network")
    columns = list(job.columns.values())
    ids = {name for column in columns for name in column}
    values = {name: "\t".join(str(column.get(name, "")) for column in columns) for name in ids}
    several, targets = not tasks.find(job.task).one_label, job.labels.targets.astype(np.float64)
    weighted = np.nan_to_num(targets) * job.labels.weights[:, None]
    known = ~np.isnan(targets) * job.labels.weights[:, None]  # of several labels each is a share of the clips

    def total(rows: np.ndarray) -> Any:
        return known[rows].sum(axis=0) if several else weighted[rows].sum()

    every = np.ones(len(weighted), bool)
    whole = (weighted.sum(axis=0) + 1) / (total(every) + (2 if several else len(job.classes)))
    here = np.array([values.get(name, "") for name in job.labels.clip_ids])
    shares = {}
    for value in np.unique(here):
        counts = weighted[here == value].sum(axis=0)
        shares[str(value)] = (counts + params.smoothing * whole) / (total(here == value) + params.smoothing)
    return FittedPrior(values, shares, whole)
