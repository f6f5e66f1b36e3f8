"""Cross-entropy without the worst unverified clips of each batch (1st place of FSDKaggle2018).

An unverified clip whose loss exceeds `share` of the batch's largest loss is left out of the step. Unverified is a
clip whose weight is below `trusted`: give `training.source_weights` such as {given: 0.6}.
"""

from tonestack.base.section import Section
from tonestack.networks.losses import doubtful, weighted_mean

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

ONE_LABEL = True


class Params(Section):
    """The winner's share, the least weight of a clip that is never masked, label smoothing."""

    share: float = Field(0.8, gt=0, le=1, description="share of the batch's largest loss beyond which a clip is masked")
    trusted: float = Field(1.0, gt=0, description="clips of this weight or more are never masked")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")


class Loss:
    """Weighted mean over the clips that are not masked."""

    def __init__(self, params: Params) -> None:
        self.share, self.trusted, self.smoothing = params.share, params.trusted, params.smoothing

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
        masked = doubtful(weights, self.trusted) & (each.detach() > self.share * each.detach().max())
        kept = torch.where(masked, torch.zeros_like(weights), weights)
        return weighted_mean(each, kept)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
