"""Linear probe: regularised regression on a clip's embedding, the standard measure of what pretrained features know."""

from typing import Literal

from tonestack.base.section import Section

from pydantic import Field, PositiveFloat

LEARNER = "probe"
FITTED_ONCE = True


class Params(Section):
    """Settings; the penalty is found on inner parts of the training clips."""

    statistics: Literal["mean", "pooled"] = Field(
        "mean", description="mean over a clip's windows; pooled: deviation and maximum, too"
    )
    penalties: tuple[PositiveFloat, ...] = Field(
        (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
        min_length=1,
        description="L2 penalties tried, the strongest first; the search ends where the inner loss rises",
    )
    inner: int = Field(3, ge=1, le=10, description="inner parts on which penalties are compared")
    steps: int = Field(200, ge=1, description="most steps of L-BFGS at each penalty")
