"""Binary cross-entropy a class, with label smoothing and one weight a clip; also for single-label tagging."""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tonestack.losses import weighted_mean
from tonestack.section import Section


class Params(Section):
    """Settings."""

    smoothing: float = Field(0.0, ge=0, lt=1)


class Loss:
    """Weighted mean over clips of the classes' mean binary cross-entropy."""

    def __init__(self, params: Params) -> None:
        self.smoothing = params.smoothing

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        smooth = targets * (1 - self.smoothing) + 0.5 * self.smoothing
        each = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").mean(dim=1)
        return weighted_mean(each, weights)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
