"""Mel-frequency cepstral coefficients and their deltas: librosa.feature.mfcc and librosa.feature.delta."""

from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.frontends import logmel

import numpy as np
import scipy.fft
from pydantic import Field, model_validator

TOP_DB = np.float32(80)  # librosa.feature.mfcc's own floor under the clip's loudest band
DELTA_WIDTH = 9


class Params(sg.MelParams):
    """n_mfcc coefficients of n_mels bands; deltas 1 adds the slopes, 2 the curvatures as well."""

    n_mels: int = Field(128, ge=1, description="mel bands")
    n_mfcc: int = Field(40, ge=1, description="cepstral coefficients kept")
    deltas: int = Field(0, ge=0, le=2, description="1: add first derivatives; 2: and second derivatives")
    n_fft: int = Field(2048, ge=16, le=1 << 18, description="length of the Fourier transform, samples")

    @model_validator(mode="after")
    def _check_count(self) -> "Params":
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} is more than n_mels {self.n_mels}")
        return self


class Frontend:
    """Wave float32 (n,) -> float16 (T, n_mfcc * (1 + deltas)); coefficients first, then slopes, then curvatures."""

    dtype = np.float16

    def __init__(self, params: Params) -> None:
        self._logmel = logmel.Frontend(params)
        self.sample_rate = params.sample_rate
        self.width = params.n_mfcc * (1 + params.deltas)
        self.frame_rate = self._logmel.frame_rate
        self._n_mfcc, self._deltas = params.n_mfcc, params.deltas

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return sg.to_float16(self.exact(wave))

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (T, n_mfcc * (1 + deltas)), before the rounding."""
        bands = self._logmel.exact(wave)  # (T, n_mels)
        np.maximum(bands, bands.max() - TOP_DB, out=bands)
        mfcc = scipy.fft.dct(bands, axis=1, norm="ortho")[:, : self._n_mfcc]  # (T, n_mfcc)
        return np.concatenate([mfcc, *(_delta(mfcc, order) for order in range(1, self._deltas + 1))], axis=1)


def _delta(mfcc: np.ndarray, order: int) -> np.ndarray:
    """Return the local derivative along time, float32 (T, n_mfcc); clips shorter than the window repeat their ends."""
    from scipy.signal import savgol_filter  # half a second to import, and most runs want no deltas

    return savgol_filter(mfcc, DELTA_WIDTH, order, deriv=order, axis=0, mode="nearest")
