"""Kernel ridge regression on what a clip's spectrogram has of patches that are learnt without labels."""

from typing import Annotated, Literal

from tonestack.base.section import Section

from pydantic import Field, PositiveFloat

LEARNER = "kernel"
FITTED_ONCE = True


class Params(Section):
    """Settings of the patches, of their pooling, and of the regression."""

    patches: int = Field(256, ge=1, description="patches learnt (spherical k-means)")
    bands: int = Field(16, ge=1, description="height of a patch, bands")
    frames: int = Field(16, ge=1, description="length of a patch, frames")
    band_step: int = Field(4, ge=1, description="bands from one place of a patch to the next")
    frame_step: int = Field(2, ge=1, description="frames from one place of a patch to the next")
    samples: int = Field(60_000, ge=1, description="patches of the training clips that k-means sees")
    rounds: int = Field(10, ge=1, description="rounds of k-means")
    threshold: float = Field(1.0, description="a response counts from here on, in deviations of whitened patches")
    range_db: float = Field(80.0, gt=0, description="levels further below the loudest of a clip are raised to this, dB")
    statistics: float = Field(0.1, ge=0, description="weight of the clip's statistics beside its responses")
    speeds: tuple[Annotated[float, Field(gt=0.1, lt=10)], ...] = Field(
        (0.85, 1.0, 1.15), min_length=1, description="playing speeds at which a clip is heard"
    )
    width: float = Field(0.1, gt=0, description="exp(-width d), d: mean squared difference of standardised columns")
    components: int = Field(512, ge=1, description="principal components that distances are measured in")
    landmarks: int = Field(3000, ge=1, description="training rows that the kernel compares with, at most")
    penalties: tuple[PositiveFloat, ...] = Field(
        (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), min_length=1, description="ridge penalties, chosen by leaving groups out"
    )
    columns: tuple[Literal["verified"], ...] = Field(
        (), description="verified: verified clips choose penalty and temperature"
    )
