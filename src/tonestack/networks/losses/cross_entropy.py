"""Cross-entropy against class probabilities, with label smoothing and one weight per clip."""

from tonestack.base.section import Section
from tonestack.networks.losses import weighted_mean

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

ONE_LABEL = True


class Params(Section):
    """Settings."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")


class Loss:
    """Weighted mean of the clips' cross-entropies."""

    def __init__(self, params: Params) -> None:
        self.smoothing = params.smoothing

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
        return weighted_mean(each, weights)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
