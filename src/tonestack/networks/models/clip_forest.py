"""Extremely randomised trees (Geurts et al. 2006) on clip statistics: seconds to fit, robust to wrong labels."""

from typing import Literal

from tonestack.base.section import Section

from pydantic import Field

LEARNER = "forest"
FITTED_ONCE = True


class Params(Section):
    """Settings of the forest; statistics: `spectrogram` takes the columns as bands, the others each column alone."""

    statistics: Literal["spectrogram", "tracks", "pooled", "mean"] = Field(
        "spectrogram",
        description="spectrogram: bands of one spectrum; tracks: every column on its own; "
        "pooled: mean, deviation and maximum of each; mean",
    )
    trees: int = Field(300, ge=1, description="trees")
    min_leaf: int = Field(2, ge=1, description="fewest clips in a leaf")
    max_features: float = Field(0.2, gt=0, le=1, description="share of the statistics tried at a split")
