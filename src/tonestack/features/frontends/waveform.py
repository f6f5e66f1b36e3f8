"""The wave itself at one sample rate, as int16, for networks that learn their own filters."""

from tonestack.base.section import Section
from tonestack.features.audio import blocks, peak

import numpy as np
from pydantic import Field

FULL_SCALE = 32767
VALUES = "samples"


class Params(Section):
    """sample_rate in Hz."""

    sample_rate: int = Field(32_000, ge=1_000, le=768_000, description="sample rate, Hz")


class Frontend:
    """Wave float32 (n,) -> int16 (n, 1); 1.0 is 32767, and a clip whose peak is over 1.0 is scaled down to it."""

    dtype = np.int16

    def __init__(self, params: Params) -> None:
        self.sample_rate = params.sample_rate
        self.width = 1
        self.frame_rate = float(params.sample_rate)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        out = np.empty((len(wave), 1), np.int16)
        gain, start = self._gain(wave), 0
        for block in blocks(wave):
            out[start : start + len(block), 0] = np.rint(block * gain)
            start += len(block)
        return out

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (n, 1) on the scale of int16, before the rounding."""
        return (wave * self._gain(wave))[:, None]

    def _gain(self, wave: np.ndarray) -> np.float32:
        # resampling overshoots and float files exceed 1.0; scaling keeps the shape that clipping would break
        return np.float32(FULL_SCALE / max(peak(wave), 1.0))
