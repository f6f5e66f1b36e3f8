"""Mel spectrogram in natural logarithms, ln(mel + offset), as in the ResNet-18 speaker project.

Its defects are settings: filters laid out for another rate (`filter_rate: 22050`) and applied to the complex spectrum
(`spectrum: complex`: the filters add up bins with their phases; ln |z| is the real part of the complex logarithm).
"""

from typing import Literal

from tonestack.features.frontends import _spectrogram as sg

import numpy as np
import scipy.fft
from pydantic import Field

centres = sg.mel_centres  # of Params: the bands in Hz (F,)


class Params(sg.MelParams):
    """Sample rate, window, mel bands; the offset added before the logarithm; the spectrum that is filtered."""

    sample_rate: int = Field(16_000, ge=1_000, le=768_000, description="sample rate, Hz")
    n_fft: int = Field(512, ge=16, le=1 << 18, description="length of the Fourier transform, samples")
    hop_length: int = Field(160, ge=1, description="step between frames, samples")
    n_mels: int = Field(40, ge=1, description="mel bands")
    fmin: float = Field(0.0, ge=0, description="lower edge of the lowest band, Hz")
    offset: float = Field(1e-9, gt=0, description="added before the logarithm")
    spectrum: Literal["power", "magnitude", "complex"] = Field(
        "power", description="spectrum that the mel filters are applied to"
    )
    filter_rate: int | None = Field(None, ge=1_000, description="Hz the filters are laid out for; none: sample_rate")


class Frontend:
    """Wave float32 (n,) -> float16 (T, n_mels); silence is ln(offset)."""

    dtype = np.float16

    def __init__(self, params: Params) -> None:
        self.sample_rate = params.sample_rate
        self.width = params.n_mels
        self.frame_rate = params.sample_rate / params.hop_length
        self._params = params
        self._window = sg.window(params)
        layout = params.model_copy(update={"sample_rate": params.filter_rate or params.sample_rate})
        self._basis = np.ascontiguousarray(sg.mel_basis(layout).T)  # (bins, n_mels)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return sg.to_float16(self.exact(wave))

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (T, n_mels), before the rounding."""
        p = self._params
        out = np.empty((sg.frame_count(len(wave), p.n_fft, p.hop_length), self.width), np.float32)
        for where, frames in sg.frame_chunks(wave, p.n_fft, p.hop_length):
            out[where] = self._mel(scipy.fft.rfft(frames * self._window, overwrite_x=True))
        return np.log(out + np.float32(p.offset))

    def _mel(self, spectrum: np.ndarray) -> np.ndarray:
        """Band values (t, n_mels) >= 0 of complex spectra (t, bins)."""
        if self._params.spectrum == "complex":
            return np.abs(spectrum @ self._basis)
        magnitude = np.abs(spectrum)
        bands: np.ndarray = (magnitude**2 if self._params.spectrum == "power" else magnitude) @ self._basis
        return bands
