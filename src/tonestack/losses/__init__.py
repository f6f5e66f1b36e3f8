"""Losses: one file each, with `Params` and `build(params) -> Loss`."""

from typing import Protocol

from torch import Tensor


class Loss(Protocol):
    """What a loss is to the train loop."""

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Take logits (B, C), targets (B, C) of probabilities and weights (B,); return a scalar."""
