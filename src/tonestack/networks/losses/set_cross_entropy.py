"""Cross-entropy of a softmax against a clip's set of labels, each with its share; probabilities stay sigmoids.

The first of BirdCLEF 2024 trained so and used the sigmoid at inference: classes compete for a clip in training alone.
A clip without labels would teach nothing. With `nothing`, one more class, whose logit is always 0, is its label: the
loss then pushes all its logits below 0, and with a single class it is the binary cross-entropy.
"""

from tonestack.base.section import Section
from tonestack.networks.losses import known_cells, weighted_mean

import torch
from pydantic import Field
from torch import Tensor


class Params(Section):
    """Settings."""

    nothing: bool = Field(True, description="a class with logit 0 is the label of clips that have none")


class Loss:
    """Weighted mean of the clips' cross-entropies; unknown classes take no part in a clip's softmax."""

    def __init__(self, params: Params) -> None:
        self.nothing = params.nothing

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        targets, known = known_cells(targets)
        logits = logits.masked_fill(~known, -1e4)
        total = targets.sum(dim=1, keepdim=True)
        taught = known.any(dim=1) if self.nothing else total[:, 0] > 0
        if self.nothing:
            logits = torch.cat([logits, torch.zeros_like(total)], dim=1)
            targets = torch.cat([targets, (1 - total).clamp_min(0)], dim=1)
        share = targets / targets.sum(dim=1, keepdim=True).clamp_min(1e-8)
        each = -(share * logits.log_softmax(dim=1)).sum(dim=1)
        return weighted_mean(each, weights * taught)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
