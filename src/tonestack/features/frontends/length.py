"""A clip's length alone, for baselines that must not use the sound: one frame per clip, the log of its seconds."""

from tonestack.base.section import Section

import numpy as np
from pydantic import Field


class Params(Section):
    """sample_rate in Hz; give another frontend's rate to save one resampling."""

    sample_rate: int = Field(
        16_000, ge=1_000, le=768_000, description="sample rate, Hz; that of another frontend avoids a second resampling"
    )


class Frontend:
    """Wave float32 (n,) -> float16 (1, 1)."""

    dtype = np.float16

    def __init__(self, params: Params) -> None:
        self.sample_rate = params.sample_rate
        self.width = 1
        self.frame_rate = 1.0

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return self.exact(wave).astype(np.float16)

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (1, 1), before the rounding."""
        return np.log2(np.full((1, 1), len(wave) / self.sample_rate, np.float32))
