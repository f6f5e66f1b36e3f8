"""Short-time Fourier transform: the magnitudes |X| of all bins."""

import numpy as np

from tonestack.features._piece import FrameParams, Piece
from tonestack.section import Section


class Params(Section):
    """No settings of its own: the frames say all."""


class Feature:
    """Frames -> (t, 1 + n_fft // 2) magnitudes, linear: loud moments stand out, unlike in the dB of `spectrogram`."""

    def __init__(self, params: Params, frames: FrameParams) -> None:
        self.width = 1 + frames.n_fft // 2

    def __call__(self, piece: Piece) -> np.ndarray:
        return np.sqrt(piece.power)
