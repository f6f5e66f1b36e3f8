"""Discrete wavelet transform: energy of a frame's sub-bands in dB, from the approximation to the finest detail."""

from tonestack.base.section import Section
from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field


class Params(Section):
    """Any orthogonal wavelet of PyWavelets, and how often the lower half band is halved again."""

    wavelet: str = Field("db4", description="an orthogonal wavelet of PyWavelets")
    level: int = Field(5, ge=1, le=12, description="how often the lower half band is halved again")


class Feature:
    """Frames -> (t, level + 1) dB. Periodic at the frame's ends, so that the energies add up to the frame's own."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        import pywt

        if params.wavelet not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(params.wavelet).orthogonal:
            raise ValueError(f"PyWavelets has no orthogonal wavelet '{params.wavelet}'; db4, sym8, coif3 are some")
        if frames.n_fft % 2**params.level:
            raise ValueError(f"n_fft {frames.n_fft} cannot be halved {params.level} times (level)")
        self.width = params.level + 1
        self._params = params

    def __call__(self, block: FrameBlock) -> np.ndarray:
        energies = [np.square(band).sum(axis=1) for band in self.coefficients(block.tapered)]
        return sg.decibels(np.stack(energies, axis=1))

    def coefficients(self, frames: np.ndarray) -> list[np.ndarray]:
        """Coefficients of frames (t, n): the approximation (t, n / 2^level), then the details, coarsest first."""
        import pywt

        bands: list[np.ndarray] = pywt.wavedec(
            frames, self._params.wavelet, mode="periodization", level=self._params.level, axis=1
        )
        return bands
