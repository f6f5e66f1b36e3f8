"""Cross-entropy of the few-shot voice report: the softmax of sigmoids is given to it as if it were logits.

It cannot fall under log(1 + (N - 1) exp((1 - e) / (e + N - 1))): 2.172 for ten candidates, 1.610 for six. Kept so that
numbers can be compared; the report meant `cross_entropy` on the logits.
"""

from tonestack.base.section import Section
from tonestack.networks.losses import weighted_mean

import torch.nn.functional as F
from torch import Tensor

ONE_LABEL = True


class Params(Section):
    """No settings."""


class Loss:
    """Weighted mean over episodes."""

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        each = F.cross_entropy(logits.sigmoid().softmax(dim=1), targets, reduction="none")
        return weighted_mean(each, weights)


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss()
