"""Spectral contrast (Jiang et al. 2002): librosa.feature.spectral_contrast, octaves' peaks over valleys."""

from tonestack.base.section import Section
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field


class Params(Section):
    """Octave bands upwards of fmin (Hz); what lies below fmin is one band more."""

    fmin: float = Field(
        200.0, gt=0, description="lower edge of the lowest octave band, Hz; one more band lies below it"
    )
    n_bands: int = Field(5, ge=1, description="octave bands")


class Feature:
    """Frames -> (t, n_bands + 1) dB."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        top = params.fmin * 2 ** (params.n_bands - 1)
        if top >= frames.sample_rate / 2:
            raise ValueError(f"the last of {params.n_bands} octaves begins at {top:g} Hz, beyond half the sample rate")
        if params.fmin < frames.sample_rate / frames.n_fft:
            raise ValueError(f"fmin {params.fmin:g} Hz is less than n_fft {frames.n_fft} resolves")
        self.width = params.n_bands + 1
        self._params = params

    def __call__(self, block: FrameBlock) -> np.ndarray:
        import librosa

        magnitude = np.sqrt(block.power).T
        settings = {"fmin": self._params.fmin, "n_bands": self._params.n_bands}
        rate = block.params.sample_rate
        return np.asarray(librosa.feature.spectral_contrast(S=magnitude, sr=rate, **settings)).T  # type: ignore[arg-type]
