"""Losses: one file each, with `Params` and `build(params) -> Loss`.

One with parameters of its own, or that reads the embedding, says `ON_EMBEDDING = True` and has
`build(params, width, n_classes) -> EmbeddingLoss` instead. `ONE_LABEL = True` marks a loss whose classes exclude each
other (softmax); tasks with several labels per clip refuse it. All others leave out unknown cells: targets that are NaN.
"""

from typing import Protocol

import torch
from torch import Tensor, nn


class Loss(Protocol):
    """The contract of a loss."""

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Take logits (B, C), targets (B, C) of probabilities and weights (B,); return a scalar.

        Mixup weighs the labels of a mixed crop's halves by way of the targets. That is exact for a loss that is
        linear in them.
        """


class EmbeddingLoss(nn.Module):
    """A loss of logits and embedding, with parameters of its own that its own optimiser moves."""

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor, embedding: Tensor) -> Tensor:
        """Like `Loss`, with the embedding (B, D) that the logits were made of."""
        raise NotImplementedError

    def optimizer(self) -> torch.optim.Optimizer:
        """A fresh optimiser of the loss's parameters; its rate is constant."""
        raise NotImplementedError


AnyLoss = Loss | EmbeddingLoss


def weighted_mean(each: Tensor, weights: Tensor) -> Tensor:
    """Mean of the clips' losses (B,) by their weights (B,); 0 where no clip has any."""
    return (each * weights).sum() / weights.sum().clamp_min(1e-8)


def known_cells(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Targets (B, C) with 0 where they are unknown (NaN), and which are known."""
    known = ~targets.isnan()
    return targets.nan_to_num(0.0), known


def mean_of_known(losses: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """Mean of the known cells' losses (B, C) by their clips' weights (B,); 0 where no cell has any.

    Every known cell counts alike: a clip of which one class is known has a small part in a batch of others.
    """
    cells = weights[:, None] * known
    return (losses * cells).sum() / cells.sum().clamp_min(1e-8)


def doubtful(weights: Tensor, trusted: float) -> Tensor:
    """Mask (B,) of the clips that count less than `trusted`: those whose labels nobody checked.

    A mixed crop (mixup) is doubtful if one of its two halves is.
    """
    return weights < trusted - 1e-6
