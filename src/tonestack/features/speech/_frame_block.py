"""A block of frames of one clip, with the spectra and polynomials that several features share computed once.

A long clip is computed block by block, so that memory does not grow with its length.
"""

from functools import cached_property

from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.speech import _lpc

import numpy as np
import scipy.fft
from pydantic import Field


class SpeechFrameParams(sg.FrameParams):
    """Frames of 32 ms every 10 ms at 16 kHz, after pre-emphasis y[n] = x[n] - pre_emphasis * x[n - 1]."""

    sample_rate: int = Field(16_000, ge=1_000, le=768_000, description="sample rate, Hz")
    n_fft: int = Field(512, ge=16, le=1 << 18, multiple_of=2, description="length of the Fourier transform, samples")
    hop_length: int = Field(160, ge=1, description="step between frames, samples")
    pre_emphasis: float = Field(0.97, ge=0, lt=1, description="factor p of the pre-emphasis y[n] = x[n] - p * x[n - 1]")


class FrameBlock:
    """Frames `first` to `last` (exclusive) of a clip.

    wave: the whole clip, float32 (n,). peak: its largest absolute sample. t is the number of frames.
    """

    def __init__(self, wave: np.ndarray, first: int, last: int, params: SpeechFrameParams, peak: float) -> None:
        self.wave, self.first, self.last, self.params, self.peak = wave, first, last, params, peak
        self._lpc: dict[int, np.ndarray] = {}

    def span(self, context: int, emphasised: bool) -> np.ndarray:
        """Samples from the centre of the first frame to that of the last, `context` samples more on both sides.

        Zeros beyond the clip: float32 ((t - 1) * hop + 1 + 2 * context,).
        """
        start = self.first * self.params.hop_length - context
        stop = (self.last - 1) * self.params.hop_length + 1 + context
        if not emphasised or not self.params.pre_emphasis:
            return _cut(self.wave, start, stop)
        before = _cut(self.wave, start - 1, stop)
        y = before[1:] - np.float32(self.params.pre_emphasis) * before[:-1]
        y[max(len(self.wave) - start, 0) :] = 0  # the filter rings one sample beyond the clip's end
        return y

    def frames(self, emphasised: bool = True) -> np.ndarray:
        """The frames as a view (t, n_fft), not tapered."""
        size, hop = self.params.n_fft, self.params.hop_length
        return np.lib.stride_tricks.sliding_window_view(self.span(size // 2, emphasised)[:-1], size)[::hop]

    @cached_property
    def tapered(self) -> np.ndarray:
        """Pre-emphasised frames under a Hann window: float32 (t, n_fft)."""
        return self.frames() * sg.window(self.params)

    @cached_property
    def power(self) -> np.ndarray:
        """Power spectra of the tapered frames: float32 (t, 1 + n_fft // 2)."""
        spectrum = scipy.fft.rfft(self.tapered)
        power: np.ndarray = spectrum.real**2 + spectrum.imag**2
        return power

    def lpc(self, order: int) -> np.ndarray:
        """Linear prediction polynomials [1, a_1 .. a_order] of the frames: float64 (t, order + 1)."""
        if order not in self._lpc:
            self._lpc[order] = _lpc.burg(self.frames(), order)
        return self._lpc[order]

    @property
    def frequencies(self) -> np.ndarray:
        """Hz of the bins of `power`."""
        return np.fft.rfftfreq(self.params.n_fft, 1 / self.params.sample_rate)


def _cut(wave: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Copy wave[start:stop] where samples outside the wave are zero."""
    out = np.zeros(stop - start, np.float32)
    first, last = max(start, 0), min(stop, len(wave))
    if first < last:
        out[first - start : last - start] = wave[first:last]
    return out
