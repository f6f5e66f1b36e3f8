"""Binary cross-entropy per class, with label smoothing and one weight per clip; also for single-label tagging."""

from tonestack.base.section import Section
from tonestack.networks.losses import doubtful, known_cells, mean_of_known

from pydantic import Field
from torch import Tensor, where
from torch.nn.functional import binary_cross_entropy_with_logits


class Params(Section):
    """Label smoothing; `doubtful_smoothing`: of clips that weigh less than `trusted` (unverified ones)."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    doubtful_smoothing: float | None = Field(
        None, ge=0, lt=1, description="label smoothing of doubtful clips; left out: the same"
    )
    trusted: float = Field(1.0, gt=0, description="clips that weigh less than this have doubtful labels")


class Loss:
    """Weighted mean over clips and known classes of the binary cross-entropy."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        targets, known = known_cells(targets)
        smooth = smoothed(targets, self.params.smoothing)
        if self.params.doubtful_smoothing is not None:
            softer = smoothed(targets, self.params.doubtful_smoothing)
            smooth = where(doubtful(weights, self.params.trusted)[:, None], softer, smooth)
        losses = binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        return mean_of_known(losses, known, weights)


def smoothed(targets: Tensor, share: float) -> Tensor:
    """Move every target the `share` of its way to a half."""
    return targets * (1 - share) + 0.5 * share


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
