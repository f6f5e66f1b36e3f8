"""Binary cross-entropy for trusted clips, the generalised one (Zhang & Sabuncu 2018) for the others.

For a class with probability p of being as its target says, (1 - p^q) / q lies between cross-entropy (q -> 0) and mean
absolute error (q = 1): what the network finds impossible pulls less. Fonseca et al. 2019 train FSDKaggle2019's noisy
clips so. Unverified is a clip whose weight is below `trusted`: give `training.source_weights` such as {given: 0.6}.
"""

from tonestack.base.section import Section
from tonestack.networks.losses import doubtful, known_cells, mean_of_known

from pydantic import Field
from torch import Tensor, where
from torch.nn.functional import logsigmoid


class Params(Section):
    """`q` of clips that weigh less than `trusted`."""

    q: float = Field(
        0.5,
        gt=0,
        le=1,
        description="near 0: binary cross-entropy, 1: mean absolute error; for clips with doubtful labels",
    )
    trusted: float = Field(1.0, gt=0, description="clips that weigh less than this have doubtful labels")


class Loss:
    """Weighted mean over clips and known classes of the loss of the kind that befits the clip."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        targets, known = known_cells(targets)
        there, absent = logsigmoid(logits), logsigmoid(-logits)
        sure = -(targets * there + (1 - targets) * absent)
        unsure = targets * self._generalised(there) + (1 - targets) * self._generalised(absent)
        losses = where(doubtful(weights, self.params.trusted)[:, None], unsure, sure)
        return mean_of_known(losses, known, weights)

    def _generalised(self, logs: Tensor) -> Tensor:
        return -(self.params.q * logs).expm1() / self.params.q  # (1 - p^q) / q from log p


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
