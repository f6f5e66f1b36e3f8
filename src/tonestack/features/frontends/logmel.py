"""Log-mel spectrogram in dB: librosa.power_to_db(librosa.feature.melspectrogram(...), top_db=None)."""

from collections.abc import Iterator
from typing import Any

from tonestack.features.frontends import _spectrogram as sg

import numpy as np

centres = sg.mel_centres  # of Params: the bands in Hz (F,)
VALUES = "dB"


class Params(sg.MelParams):
    """Sample rate, window and mel bands."""


class Frontend:
    """Wave float32 (n,) -> log-mel float16 (T, n_mels) in dB; silence is -100 dB."""

    dtype = np.float16

    def __init__(self, params: sg.MelParams) -> None:
        self.sample_rate = params.sample_rate
        self.width = params.n_mels
        self.frame_rate = params.sample_rate / params.hop_length
        self.n_fft, self.hop = params.n_fft, params.hop_length
        self.window = sg.window(params)
        self.basis = np.ascontiguousarray(sg.mel_basis(params).T)  # (bins, n_mels)
        self._runs = list(_runs(self.basis))

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return self._run(wave, np.float16)

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (T, n_mels), before the rounding."""
        return self._run(wave, np.float32)

    def _run(self, wave: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
        out = np.empty((sg.frame_count(len(wave), self.n_fft, self.hop), self.width), dtype)
        for where, power in sg.power_chunks(wave, self.n_fft, self.hop, self.window):
            bands = np.empty((len(power), self.width), np.float32)
            for bins, columns, block in self._runs:
                np.matmul(power[:, bins], block, out=bands[:, columns])
            out[where] = sg.decibels(bands)  # |dB| < 400: far inside float16
        return out


def _runs(basis: np.ndarray, bands: int = 16) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Cut a basis (bins, n_mels) into runs of neighbouring bands, each with the few bins that are not zero in it."""
    for first in range(0, basis.shape[1], bands):
        columns = slice(first, first + bands)
        used = np.flatnonzero(basis[:, columns].any(axis=1))
        bins = slice(int(used[0]), int(used[-1]) + 1)
        yield bins, columns, np.ascontiguousarray(basis[bins, columns])


def on_device(frontend: Frontend, device: Any) -> Any:
    """Return the same frontend on a torch device, for many clips at once."""
    from tonestack.features.gpu_logmel import DeviceLogmel  # torch: never imported where clips are decoded

    return DeviceLogmel(frontend, device)
