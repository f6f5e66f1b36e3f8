"""Gradient-boosted trees (LightGBM) on clip statistics, for few clips with many features."""

from typing import Literal

from tonestack.base.section import Section

from pydantic import Field

LEARNER = "boosting"
FITTED_ONCE = True


class Params(Section):
    """Settings of the trees; statistics: `tracks` takes every column alone, `spectrogram` as bands of one spectrum."""

    statistics: Literal["tracks", "spectrogram", "pooled", "mean"] = Field(
        "tracks",
        description="tracks: every column on its own; spectrogram: bands of one spectrum; "
        "pooled: mean, deviation and maximum of each; mean",
    )
    rounds: int = Field(300, ge=1, description="most trees per class; early stopping finds how many")
    patience: int = Field(30, ge=1, description="rounds without a better inner loss")
    learning_rate: float = Field(0.05, gt=0, le=1, description="learning rate of the trees")
    leaves: int = Field(7, ge=2, description="leaves per tree")
    min_clips: int = Field(8, ge=1, description="fewest clips in a leaf")
    feature_share: float = Field(0.3, gt=0, le=1, description="share of the statistics that each tree may use")
    clip_share: float = Field(0.8, gt=0, le=1, description="share of the clips that each tree is fitted on")
    l2: float = Field(1.0, ge=0, description="L2 penalty on the leaves")
