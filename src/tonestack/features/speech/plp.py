"""Perceptual linear prediction (Hermansky, J. Acoust. Soc. Am. 87, 1990); numbers in brackets are its equations.

Its equal-loudness curve takes the place of pre-emphasis, so it starts from the wave as it is.
"""

from tonestack.base.section import Section
from tonestack.features.speech import _lpc
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
import scipy.fft
from pydantic import Field

FLOOR = 1e-10  # of a band's power: digital silence stays predictable


class Params(Section):
    """Order of the all-pole model and number of cepstral coefficients, the gain's being the first."""

    order: int = Field(12, ge=1, le=64, description="order of the all-pole model")
    count: int = Field(13, ge=1, le=256, description="cepstral coefficients; the first is the gain's")


class Feature:
    """Frames -> (t, count): ln(gain), then c_1, c_2 ... of the all-pole model of the auditory spectrum."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        self._bands = critical_bands(frames.sample_rate, frames.n_fft)  # (bands, bins)
        if params.order >= len(self._bands):
            raise ValueError(f"order {params.order} needs more than the {len(self._bands)} critical bands of this rate")
        self.width = params.count
        self._order = params.order
        n = np.arange(frames.n_fft)
        self._window = (0.54 - 0.46 * np.cos(2 * np.pi * n / (frames.n_fft - 1))).astype(np.float32)  # (1)

    def __call__(self, block: FrameBlock) -> np.ndarray:
        spectrum = scipy.fft.rfft(block.frames(emphasised=False) * self._window)
        power = spectrum.real**2 + spectrum.imag**2  # (2)
        loudness = auditory_spectrum(power, self._bands)  # (t, bands)
        r = scipy.fft.irfft(loudness, axis=1)[:, : self._order + 1]  # autocorrelation of a spectrum even in Bark
        a, gain = _lpc.levinson(r, self._order)
        return np.concatenate([np.log(gain)[:, None], _lpc.cepstra(a, self.width)[:, : self.width - 1]], axis=1)


def auditory_spectrum(power: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """Loudness (t, bands) of power spectra (t, bins): (5) and (6) by one product, then the cubic-root law (9).

    The outermost bands, at 0 Hz and half the sample rate, are set to their neighbours, as in the paper.
    """
    loudness: np.ndarray = np.maximum(power.astype(np.float64) @ bands.T, FLOOR) ** 0.33
    loudness[:, 0], loudness[:, -1] = loudness[:, 1], loudness[:, -2]
    return loudness


def critical_bands(sample_rate: int, n_fft: int) -> np.ndarray:
    """Weights (bands, bins) of critical bands about 1 Bark apart, each multiplied by its equal-loudness weight (6)."""
    omega = 2 * np.pi * np.fft.rfftfreq(n_fft, 1 / sample_rate)
    top = bark(np.array(np.pi * sample_rate))
    centres = np.linspace(0, top, int(np.ceil(top)) + 1)
    masking = critical_band_curve(centres[:, None] - bark(omega))
    return masking * equal_loudness(1200 * np.pi * np.sinh(centres / 6), sample_rate / 2)[:, None]


def bark(omega: np.ndarray) -> np.ndarray:
    """Bark of angular frequencies in rad/s (3): 6 ln(w / 1200 pi + ((w / 1200 pi)^2 + 1)^0.5)."""
    return 6 * np.arcsinh(omega / (1200 * np.pi))


def critical_band_curve(distance: np.ndarray) -> np.ndarray:
    """Weight at a distance in Bark, band centre less frequency (4): what lies below a band reaches it from farther."""
    skirts = [10 ** (2.5 * (distance + 0.5)), np.ones_like(distance), 10 ** (0.5 - distance)]
    where = [(distance >= -1.3) & (distance <= -0.5), np.abs(distance) < 0.5, (distance >= 0.5) & (distance <= 2.5)]
    return np.select(where, skirts, 0.0)


def equal_loudness(omega: np.ndarray, nyquist: float) -> np.ndarray:
    """Sensitivity of hearing at about 40 dB (7), with the further fall (8), scaled to 1, if Nyquist is over 5 kHz."""
    squared = omega**2
    curve = (squared + 56.8e6) * squared**2 / ((squared + 6.3e6) ** 2 * (squared + 0.38e9))
    return curve / (1 + squared**3 / 9.58e26) if nyquist > 5000 else curve
