"""Short-time Fourier transform: the magnitudes |X| of all bins."""

from tonestack.base.section import Section
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np


class Params(Section):
    """No settings of its own: the frames say all."""


class Feature:
    """Frames -> (t, 1 + n_fft // 2) magnitudes, linear, unlike the dB of `spectrogram`."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        self.width = 1 + frames.n_fft // 2

    def __call__(self, block: FrameBlock) -> np.ndarray:
        return np.sqrt(block.power)
