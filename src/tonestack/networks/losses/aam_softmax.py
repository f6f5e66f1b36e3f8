"""Additive angular margin softmax (Deng et al. 2019): `margin` radians are added to the true class's angle.

It takes the logits of a cosine classifier (`layers.CosineClassifier`), which are `scale` x cosine.
"""

import math

from tonestack.base.section import Section
from tonestack.networks.losses import weighted_mean

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

ONE_LABEL = True


class Params(Section):
    """The margin in radians, and the scale of the network's cosine classifier."""

    margin: float = Field(0.2, ge=0, lt=math.pi / 2, description="angular margin, radians")
    scale: float = Field(30.0, gt=0, description="scale of the cosines")


class Loss:
    """Weighted mean of the clips' cross-entropies with the margin; a soft target gets its share of it."""

    def __init__(self, params: Params) -> None:
        self.margin, self.scale = params.margin, params.scale

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits (scale x cosine), targets: (B, C); weights: (B,). Returns a scalar."""
        cosine = (logits / self.scale).clamp(-1, 1)
        sine = (1 - cosine.square()).clamp_min(1e-9).sqrt()
        moved = cosine * math.cos(self.margin) - sine * math.sin(self.margin)  # cos(angle + margin)
        # beyond pi - margin the cosine would rise again; there a line goes on falling
        moved = torch.where(cosine > -math.cos(self.margin), moved, cosine - self.margin * math.sin(self.margin))
        harder = self.scale * (cosine + targets * (moved - cosine))
        return weighted_mean(F.cross_entropy(harder, targets, reduction="none"), weights)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
