"""A smooth 1 - AUC of every class over the batch's pairs of clips, with binary cross-entropy beside it.

For a clip that has a class and one that has it not, log(1 + exp(-margin)) of their logits' difference; soft targets
weigh the pairs. Winners of BirdCLEF 2025 and 2026 train on it, as macro AUC is their metric. A level common to all
clips costs nothing there, so `bce` adds a share of cross-entropy, which keeps probabilities what they are called.
"""

from tonestack.base.section import Section
from tonestack.networks.losses import known_cells, mean_of_known

from pydantic import Field
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus


class Params(Section):
    """Settings."""

    bce: float = Field(0.5, ge=0, description="weight of the binary cross-entropy beside the pairs' loss")


class Loss:
    """Mean over the classes that have pairs of the pairs' weighted mean, and `bce` times the cross-entropy."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        targets, known = known_cells(targets)
        cells = weights[:, None] * known
        there, absent = targets * cells, (1 - targets) * cells
        losses = softplus(logits[None] - logits[:, None])  # (B with, B without, C)
        pairs = there[:, None] * absent[None]
        of_class = pairs.sum(dim=(0, 1))
        each = (losses * pairs).sum(dim=(0, 1)) / of_class.clamp_min(1e-8)  # (C,)
        value = each.sum() / (of_class > 1e-8).sum().clamp_min(1)
        if not self.params.bce:
            return value
        cross = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return value + self.params.bce * mean_of_known(cross, known, weights)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
