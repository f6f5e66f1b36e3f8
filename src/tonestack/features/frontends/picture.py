"""A whole clip as one square grey picture: the plotted features of the voice story report, without a plotting library.

The features of `story` lie above each other in panels of equal height, each from its least to its greatest value.
"""

from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.frontends import story

import numpy as np
from pydantic import Field


class Params(story.Params):
    """Features as in `story`; size: height and width in pixels."""

    size: int = Field(224, ge=8, le=4096, description="height and width of the picture, pixels")


class Frontend:
    """Wave float32 (n,) -> float16 (size, size), time first, 0..1.

    Time is counted in clips: `frame_rate` is `size`, so that `crop: {seconds: 1}` is the whole picture.
    """

    dtype = np.float16

    def __init__(self, params: Params) -> None:
        self._story = story.Frontend(params)
        self.sample_rate = params.sample_rate
        self.width = params.size
        self.frame_rate = float(params.size)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return sg.to_float16(self.exact(wave))

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (size, size), before the rounding."""
        tracks = self._story.tracks(wave)
        edges = np.round(np.linspace(0, self.width, len(tracks) + 1)).astype(int)
        panels = [
            spread(spread(_grey(track), self.width).T, height).T
            for track, height in zip(tracks, np.diff(edges), strict=True)
        ]
        return np.concatenate(panels, axis=1).astype(np.float32)


def _grey(track: np.ndarray) -> np.ndarray:
    """Scale to 0..1; a constant becomes 0."""
    low, high = track.min(), track.max()
    return (track - low) / (high - low) if high > low else np.zeros_like(track)


def spread(values: np.ndarray, size: int) -> np.ndarray:
    """Means (size, W) of values (T, W) over `size` equal spans of their axis: a flat mesh, seen in other pixels."""
    edges = np.linspace(0, len(values), size + 1)
    whole = np.minimum(edges.astype(int), len(values) - 1)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    at = sums[whole] + (edges - whole)[:, None] * values[whole]  # the integral up to each edge
    return np.diff(at, axis=0) * (size / len(values))
