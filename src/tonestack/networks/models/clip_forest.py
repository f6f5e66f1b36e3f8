"""Extremely randomised trees (Geurts et al. 2006) on clip statistics: seconds to fit, robust to wrong labels."""

from tonestack.base.section import Section

from pydantic import Field

LEARNER = "forest"


class Params(Section):
    """Settings of the forest."""

    trees: int = Field(300, ge=1, description="trees")
    min_leaf: int = Field(2, ge=1, description="fewest clips in a leaf")
    max_features: float = Field(0.2, gt=0, le=1, description="share of the statistics tried at a split")
