"""Asymmetric loss for multi-label tagging (Ridnik et al. 2021); equal gammas and no shift are the focal loss.

Easy classes count less, by (1 - p)^gamma where the class is there and p^gamma where it is not (Lin et al. 2017).
A larger gamma and a shift on the absent side tolerate missing labels.
"""

from tonestack.base.section import Section
from tonestack.networks.losses import known_cells, mean_of_known

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid


class Params(Section):
    """`shift`: an absent class with a probability below it costs nothing."""

    gamma_present: float = Field(0.0, ge=0, description="focusing exponent of present classes")
    gamma_absent: float = Field(2.0, ge=0, description="focusing exponent of absent classes")
    shift: float = Field(0.05, ge=0, lt=1, description="an absent class with a probability below it costs nothing")


class Loss:
    """Weighted mean over clips and known classes of the asymmetric loss."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        targets, known = known_cells(targets)
        shifted = (logits.sigmoid() - self.params.shift).clamp_min(1e-8)
        present = (-logits).sigmoid() ** self.params.gamma_present * logsigmoid(logits)
        none_of = torch.log1p(-shifted) if self.params.shift else logsigmoid(-logits)
        absent = shifted**self.params.gamma_absent * none_of
        return mean_of_known(-(targets * present + (1 - targets) * absent), known, weights)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
