"""What learners without epochs give back: forests, boosted trees, probes and kernel regressions."""

from typing import Any

from tonestack.features.store import Store

import numpy as np
from torch import Tensor


class FittedOnce:
    """A model that is fitted in one go, not by epochs, with the store whose clips it predicts.

    model: a `Restored` that also has `params` and `tensors()`. epochs: rounds of its search, for the receipt.
    """

    def __init__(self, store: Store, model: Any, epochs: int = 1) -> None:
        self.store, self.model, self.epochs = store, model, epochs

    @property
    def params(self) -> int:
        """Number of learnt parameters."""
        return int(self.model.params)

    def tensors(self) -> dict[str, Tensor]:
        """The content of `fold<k>.safetensors`."""
        return dict(self.model.tensors())

    def log_probabilities(self, clip_ids: list[str]) -> np.ndarray:
        """See `Restored.log_probabilities`."""
        return np.asarray(self.model.log_probabilities(self.store, clip_ids))

    def done(self) -> None:
        """Nothing is left behind."""
