"""Magnitude spectrogram in dB under the clip's loudest bin: librosa.amplitude_to_db(|stft|, ref=np.max, top_db=80)."""

from tonestack.features.frontends import _spectrogram as sg

import numpy as np

VALUES = "dB"


class Params(sg.FrameParams):
    """Sample rate and window."""


class Frontend:
    """Wave float32 (n,) -> float16 (T, 1 + n_fft // 2), -80..0 dB.

    As with librosa, a clip of digital silence is 0 dB everywhere: it is its own loudest bin.
    """

    dtype = np.float16
    top_db = np.float32(80)

    def __init__(self, params: Params) -> None:
        self.sample_rate = params.sample_rate
        self.width = 1 + params.n_fft // 2
        self.frame_rate = params.sample_rate / params.hop_length
        self._n_fft, self._hop = params.n_fft, params.hop_length
        self._window = sg.window(params)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return self._run(wave, np.float16)

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (T, 1 + n_fft // 2), before the rounding."""
        return self._run(wave, np.float32)

    def _run(self, wave: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
        out = np.empty((sg.frame_count(len(wave), self._n_fft, self._hop), self.width), dtype)
        # a second pass once the loudest bin is known is cheaper in memory than float32 dB of a whole hour
        loudest = sg.decibels(np.array([max(power.max() for _, power in self._chunks(wave))]))
        for where, power in self._chunks(wave):
            out[where] = np.maximum(sg.decibels(power) - loudest, -self.top_db)
        return out

    def _chunks(self, wave: np.ndarray) -> sg.Chunks:
        return sg.power_chunks(wave, self._n_fft, self._hop, self._window)
