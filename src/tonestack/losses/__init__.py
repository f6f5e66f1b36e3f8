"""Losses: one file each, with `Params` and `build(params) -> Loss`.

`ONE_LABEL = True` marks a loss whose classes exclude each other (softmax); tasks of several labels a clip refuse it.
"""

from typing import Protocol

from torch import Tensor


class Loss(Protocol):
    """What a loss is to the train loop."""

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Take logits (B, C), targets (B, C) of probabilities and weights (B,); return a scalar."""


def weighted_mean(each: Tensor, weights: Tensor) -> Tensor:
    """Mean of the clips' losses (B,) by their weights (B,); 0 where no clip has any."""
    return (each * weights).sum() / weights.sum().clamp_min(1e-8)


def doubtful(weights: Tensor, trusted: float) -> Tensor:
    """Mask (B,) of the clips that count less than `trusted`: those whose labels nobody checked.

    A mixed crop (mixup) is doubtful if one of its two halves is.
    """
    return weights < trusted - 1e-6
