"""Spectrogram: power in dB, of every bin or of bands of neighbouring bins, equally wide in Hz."""

from tonestack.base.section import Section
from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field


class Params(Section):
    """Number of bands; 0: every bin."""

    bands: int = Field(64, ge=0, description="bands of equal width; 0: every bin")


class Feature:
    """Frames -> (t, bands) dB, the mean power of each band; silence is -100 dB."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        bins = 1 + frames.n_fft // 2
        if params.bands > bins:
            raise ValueError(f"bands {params.bands} are more than the {bins} bins of n_fft {frames.n_fft}")
        self.width = params.bands or bins
        edges = np.round(np.linspace(0, bins, self.width + 1)).astype(int)
        self._first, self._count = edges[:-1], np.diff(edges).astype(np.float32)

    def __call__(self, block: FrameBlock) -> np.ndarray:
        return sg.decibels(np.add.reduceat(block.power, self._first, axis=1) / self._count)
