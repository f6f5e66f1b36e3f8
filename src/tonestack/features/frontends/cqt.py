"""Constant-Q spectrogram in dB: librosa.amplitude_to_db(|librosa.cqt(...)|, ref=1.0, top_db=None)."""

import warnings

from tonestack.base.section import Section
from tonestack.features.frontends import _spectrogram as sg

import numpy as np
from pydantic import Field, model_validator

C1 = 32.703195662574764  # Hz
AMIN = 1e-5  # amplitude floor: -100 dB
VALUES = "dB"


class Params(Section):
    """sample_rate in Hz, hop_length in samples, n_bins bands from fmin (Hz) upwards, bins_per_octave to an octave."""

    sample_rate: int = Field(22_050, ge=1_000, le=768_000, description="sample rate, Hz")
    hop_length: int = Field(512, ge=1, description="step between frames, samples")
    fmin: float = Field(C1, gt=0, description="centre of the lowest band, Hz")
    n_bins: int = Field(84, ge=1, description="bands")
    bins_per_octave: int = Field(12, ge=1, description="bands per octave")

    @model_validator(mode="after")
    def _check_bands(self) -> "Params":
        # the top filter reaches half a bandwidth over its centre; librosa refuses it beyond half the sample rate
        ratio = 2 ** (1 / self.bins_per_octave)
        alpha = (ratio**2 - 1) / (ratio**2 + 1)
        top = self.fmin * ratio ** (self.n_bins - 1) * (1 + 0.75 * alpha)
        if top > self.sample_rate / 2:
            raise ValueError(f"the top of {self.n_bins} bins, {top:.0f} Hz, lies over half the sample rate")
        return self


def centres(params: Params) -> np.ndarray:
    """Centres (F,) of the bands in Hz."""
    return params.fmin * 2 ** (np.arange(params.n_bins) / params.bins_per_octave)


class Frontend:
    """Wave float32 (n,) -> float16 (T, n_bins) in dB; silence is -100 dB."""

    dtype = np.float16

    def __init__(self, params: Params) -> None:
        self.sample_rate = params.sample_rate
        self.width = params.n_bins
        self.frame_rate = params.sample_rate / params.hop_length
        self._params = params

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return sg.to_float16(self.exact(wave))

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (T, n_bins), before the rounding."""
        import librosa  # 2 s to import: only workers that compute a constant-Q transform pay for it

        p = self._params
        octaves = -(-p.n_bins // p.bins_per_octave)
        # librosa halves the rate once an octave and cannot resample what gets too short
        padded = np.pad(wave, (0, max(0, p.hop_length * 2**octaves // 4 - len(wave))))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "n_fft=.* is too large")  # short clips are meant to be padded
            spectrum = librosa.cqt(
                padded,
                sr=p.sample_rate,
                hop_length=p.hop_length,
                fmin=p.fmin,
                n_bins=p.n_bins,
                bins_per_octave=p.bins_per_octave,
            )  # (n_bins, T')
        magnitude = np.abs(spectrum[:, : 1 + len(wave) // p.hop_length]).astype(np.float32)
        return 20 * np.log10(np.maximum(magnitude, np.float32(AMIN))).T
