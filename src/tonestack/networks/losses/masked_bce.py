"""Binary cross-entropy without the worst of the unverified clips' labels in each batch.

A label that annotators forgot looks like a very wrong prediction: a class with a large loss. `each: label` leaves such
classes of a clip out of the step (loss masking for missing labels, Fonseca et al. 2020), `each: clip` whole clips, as
the winners of FSDKaggle2018 did. Unverified is a clip whose weight is below `trusted`: give `training.source_weights`
such as {given: 0.6}.
"""

from typing import Literal

from tonestack.base.section import Section
from tonestack.networks.losses import doubtful, known_cells, mean_of_known
from tonestack.networks.losses.bce import smoothed

from pydantic import Field
from torch import Tensor, zeros_like
from torch.nn.functional import binary_cross_entropy_with_logits


class Params(Section):
    """Beyond `share` of the batch's largest loss a label or a clip is masked; label smoothing of all clips."""

    each: Literal["label", "clip"] = Field("label", description="mask single labels, or whole clips")
    share: float = Field(
        0.6, gt=0, le=1, description="share of the batch's largest loss beyond which a label or clip is masked"
    )
    trusted: float = Field(1.0, gt=0, description="clips of this weight or more are never masked")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of all clips")


class Loss:
    """Weighted mean over clips of the mean binary cross-entropy of the classes that are not masked."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits, targets: (B, C); weights: (B,). Returns a scalar."""
        targets, known = known_cells(targets)
        smooth = smoothed(targets, self.params.smoothing)
        losses = binary_cross_entropy_with_logits(logits, smooth, reduction="none")  # (B, C)
        losses = losses * known
        unsure = doubtful(weights, self.params.trusted)
        if self.params.each == "clip":
            each = losses.sum(dim=1) / known.sum(dim=1).clamp_min(1)
            return mean_of_known(losses, known, weights.where(~self._large(each, unsure), zeros_like(weights)))
        masked = self._large(losses, unsure[:, None])
        return mean_of_known(losses.masked_fill(masked, 0.0), known, weights)

    def _large(self, losses: Tensor, unsure: Tensor) -> Tensor:
        return unsure & (losses.detach() > self.params.share * losses.detach().max())


def build(params: Params) -> Loss:
    """Build the loss."""
    return Loss(params)
