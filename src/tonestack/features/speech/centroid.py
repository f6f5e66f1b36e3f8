"""Spectral centroid in Hz: librosa.feature.spectral_centroid, the centre of gravity of the magnitudes."""

from tonestack.base.section import Section
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np


class Params(Section):
    """No settings of its own."""


class Feature:
    """Frames -> (t, 1) Hz; 0 in digital silence."""

    width = 1

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        pass

    def __call__(self, block: FrameBlock) -> np.ndarray:
        import librosa

        magnitude = np.sqrt(block.power).T
        return np.asarray(librosa.feature.spectral_centroid(S=magnitude, sr=block.params.sample_rate)).T
