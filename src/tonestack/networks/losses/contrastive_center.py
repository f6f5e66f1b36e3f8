"""Cross-entropy plus the contrastive-center loss: near the own class's centre, far from the others' (Qi & Su 2017).

`paper`: lambda/2 x the clips' mean of intra_i / (inter_i + delta), intra_i the squared distance of an embedding to its
class's centre, inter_i the sum of those to all others. `batch`, as in the ResNet-18 speaker project:
lambda/2 x sum_i intra_i / (sum_i inter_i + delta), one ratio for the batch. Centres are learnt, drawn from N(0, 1).
"""

from typing import Literal

from tonestack.base.section import Section
from tonestack.networks.losses import EmbeddingLoss, weighted_mean

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

ON_EMBEDDING = ONE_LABEL = True


class Params(Section):
    """The form, `weight` (lambda) and delta, the cross-entropy's smoothing, and the centres' optimiser."""

    form: Literal["paper", "batch"] = Field("paper", description="the paper's formula, or sums over the batch")
    weight: float = Field(1.0, ge=0, description="weight of the centre loss beside the cross-entropy")
    delta: float = Field(1.0, gt=0, description="added to the denominator")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of the cross-entropy")
    optimizer: Literal["adagrad", "adam", "sgd"] = Field("adagrad", description="optimiser of the centres")
    lr: float = Field(1e-3, gt=0, description="learning rate of the centres")


class Loss(EmbeddingLoss):
    """Both losses' weighted means over the clips."""

    def __init__(self, params: Params, width: int, n_classes: int) -> None:
        super().__init__()
        self.params = params
        self.centres = nn.Parameter(torch.randn(n_classes, width))

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor, embedding: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,); embedding: (B, D). Returns a scalar."""
        each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.params.smoothing)
        return weighted_mean(each, weights) + 0.5 * self.params.weight * self.ratio(targets, weights, embedding)

    def ratio(self, targets: Tensor, weights: Tensor, embedding: Tensor) -> Tensor:
        """The contrastive-center loss without lambda/2; a soft target has a share in each of its centres."""
        with torch.autocast(embedding.device.type, enabled=False):
            distance = torch.cdist(embedding, self.centres, compute_mode="donot_use_mm_for_euclid_dist").square()
        intra = (targets * distance).sum(dim=1)
        inter = ((1 - targets) * distance).sum(dim=1)
        if self.params.form == "paper":
            return weighted_mean(intra / (inter + self.params.delta), weights)
        return (weights * intra).sum() / ((weights * inter).sum() + self.params.delta)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adagrad, Adam or SGD at the constant rate `lr`."""
        kinds = {"adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        return kinds[self.params.optimizer](self.parameters(), lr=self.params.lr)


def build(params: Params, width: int, n_classes: int) -> Loss:
    """Build the loss for embeddings of `width` numbers."""
    return Loss(params, width, n_classes)
