"""Spectral centroid in Hz: librosa.feature.spectral_centroid, the centre of gravity of the magnitudes."""

import numpy as np

from tonestack.features._piece import FrameParams, Piece
from tonestack.section import Section


class Params(Section):
    """No settings of its own."""


class Feature:
    """Frames -> (t, 1) Hz; 0 in digital silence."""

    width = 1

    def __init__(self, params: Params, frames: FrameParams) -> None:
        pass

    def __call__(self, piece: Piece) -> np.ndarray:
        import librosa

        magnitude = np.sqrt(piece.power).T
        return np.asarray(librosa.feature.spectral_centroid(S=magnitude, sr=piece.params.sample_rate)).T
