"""Generalised cross-entropy (Zhang & Sabuncu 2018): between cross-entropy (q -> 0) and mean absolute error (q = 1)."""

from tonestack.base.section import Section
from tonestack.networks.losses import weighted_mean

from pydantic import Field
from torch import Tensor

ONE_LABEL = True


class Params(Section):
    """`q`: the larger, the less a clip counts that the network finds impossible."""

    q: float = Field(0.7, gt=0, le=1, description="near 0: cross-entropy, 1: mean absolute error")


class Loss:
    """Weighted mean of the clips' sum_c t_c (1 - p_c^q) / q."""

    def __init__(self, params: Params) -> None:
        self.q = params.q

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        power = (self.q * logits.log_softmax(dim=1)).exp()  # p^q without a power of zero
        each = (targets * (1 - power)).sum(dim=1) / self.q
        return weighted_mean(each, weights)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
