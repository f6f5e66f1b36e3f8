"""Mel spectrogram as EfficientAT hears it: pre-emphasis, Kaldi's mel bands, natural logarithm, roughly -1 to 1."""

from tonestack.base.section import Section
from tonestack.features.frontends import _spectrogram as sg

import numpy as np
from pydantic import Field, model_validator

EMPHASIS, FLOOR = np.float32(0.97), np.float32(1e-5)


class Params(Section):
    """The published settings; hop_length 160 to 800 are those of its variants."""

    sample_rate: int = Field(32_000, ge=1_000, le=768_000, description="sample rate, Hz")
    n_fft: int = Field(1024, ge=16, le=1 << 18, description="length of the Fourier transform, samples")
    win_length: int = Field(800, ge=2, description="length of the window, samples")
    hop_length: int = Field(320, ge=1, description="step between frames, samples")
    bands: int = Field(128, ge=1, description="mel bands")
    fmin: float = Field(0.0, ge=0, description="lower edge of the lowest band, Hz")
    fmax: float = Field(15_000.0, gt=0, description="upper edge of the highest band, Hz")

    @model_validator(mode="after")
    def _check(self) -> "Params":
        if self.win_length > self.n_fft or self.hop_length > self.n_fft:
            raise ValueError(f"n_fft {self.n_fft} is shorter than the window or the step")
        if not self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(f"bands from {self.fmin:g} to {self.fmax:g} Hz do not lie below half the sample rate")
        return self


class Frontend:
    """Wave float32 (n,) -> float16 (T, bands)."""

    dtype = np.float16

    def __init__(self, params: Params) -> None:
        self.sample_rate, self.width = params.sample_rate, params.bands
        self.frame_rate = params.sample_rate / params.hop_length
        self._n_fft, self._hop = params.n_fft, params.hop_length
        hann = np.hanning(params.win_length)  # symmetric, unlike the other frontends' windows
        left = (params.n_fft - params.win_length) // 2
        self._window = np.pad(hann, (left, params.n_fft - params.win_length - left)).astype(np.float32)
        self._basis = kaldi_basis(params)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return sg.to_float16(self.exact(wave))

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (T, bands), before the rounding."""
        sharp = wave[1:] - EMPHASIS * wave[:-1] if len(wave) > 1 else wave
        padded = _reflected(sharp, self._n_fft // 2)
        count = 1 + (len(padded) - self._n_fft) // self._hop
        out = np.empty((count, self.width), np.float32)
        step = max(1, sg.CHUNK // self._n_fft)
        for first in range(0, count, step):
            at = self._hop * np.arange(first, min(first + step, count))[:, None] + np.arange(self._n_fft)
            spectrum = np.fft.rfft(padded[at] * self._window)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
            out[first : first + len(at)] = (np.log(power @ self._basis + FLOOR) + np.float32(4.5)) / np.float32(5)
        return out


def _reflected(wave: np.ndarray, count: int) -> np.ndarray:
    """Mirror both ends, as torch.stft does; where a clip is too short to, it is put between silences."""
    return np.pad(wave, count, mode="reflect" if len(wave) > count else "constant")


def kaldi_basis(params: Params) -> np.ndarray:
    """Kaldi's triangles, straight on the scale 1127 ln(1 + f / 700), without their areas: float32 (bins, bands)."""
    bins = params.sample_rate / params.n_fft * np.arange(params.n_fft // 2)
    edges = np.linspace(_mel(params.fmin), _mel(params.fmax), params.bands + 2)
    mel, width = _mel(bins)[:, None], edges[1] - edges[0]
    triangles = np.minimum((mel - edges[:-2]) / width, (edges[2:] - mel) / width)
    return np.pad(np.maximum(triangles, 0), ((0, 1), (0, 0))).astype(np.float32)  # the highest bin is left out


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return np.asarray(1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0))
