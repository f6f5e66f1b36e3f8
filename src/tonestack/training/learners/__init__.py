"""Learners: each fits one kind of model to one fold's clips (`network` by gradient descent, `forest` by trees).

A learner's module has `fit(job, store) -> Fitted` and, for clips outside the competition,
`restore(settings, tensors, classes, task, device) -> Restored`. A model's module names its learner (`LEARNER`,
otherwise `network`), so that every kind of model leaves the same files and joins the same stages. `FITTED_ONCE = True`
there: it has no epochs, and a preset's epochs for all models are not its own.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from tonestack.base import parts

import numpy as np

if TYPE_CHECKING:
    from tonestack.features.store import Store

    from torch import Tensor


def name_of(network: dict[str, Any]) -> str:
    """Return the name of the learner that fits a model config's `network` section."""
    return str(getattr(parts.find("models", network["name"]), "LEARNER", "network"))


def find(network: dict[str, Any]) -> ModuleType:
    """Import the learner that fits a model config's `network` section."""
    return parts.find("learners", name_of(network))


class Fitted(Protocol):
    """A fitted model of one fold."""

    epochs: int

    @property
    def params(self) -> int:
        """Number of learnt parameters."""

    def tensors(self) -> "dict[str, Tensor]":
        """The content of `fold<k>.safetensors`."""

    def log_probabilities(self, clip_ids: list[str]) -> np.ndarray:
        """Log-probabilities (N, C) up to a constant a row; NaN rows for clips without audio."""

    def done(self) -> None:
        """Remove the state file of a resume; the fold's files have been written."""


class Restored(Protocol):
    """A fitted model read back from its file; it predicts the clips of any store of its frontend."""

    def log_probabilities(self, store: "Store", clip_ids: list[str], crops: int | None = None) -> np.ndarray:
        """Log-probabilities (N, C) up to a constant a row, NaN rows without audio; `crops`: at most so many a clip."""
