"""Constant-Q cepstral coefficients (Todisco, Delgado and Evans, Odyssey 2016) upon librosa's constant-Q transform.

The log power of geometrically spaced bins is resampled to equal steps in Hz by a cubic spline, then a DCT follows.
Both are linear, so that they are one matrix here.
"""

import warnings

from tonestack.base.section import Section
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field

FLOOR = 1e-10  # of a bin's power


class Params(Section):
    """The paper's settings: nine octaves up to half the sample rate, 96 bins each, 16 steps in the lowest octave.

    count: coefficients kept, the mean log power being the first. Fewer octaves and bins are many times faster.
    """

    octaves: int = Field(9, ge=1, le=11, description="octaves below half the sample rate; fewer are many times faster")
    bins_per_octave: int = Field(96, ge=12, description="bins per octave")
    steps: int = Field(16, ge=1, description="equal steps in the lowest octave")
    count: int = Field(20, ge=1, description="coefficients kept; the first is the mean log power")


class Feature:
    """Frames -> (t, count)."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        self.width = params.count
        self._bins = params.octaves * params.bins_per_octave
        self._per_octave = params.bins_per_octave
        self._lowest = frames.sample_rate / 2 / 2**params.octaves  # Hz
        centres = self._lowest * 2 ** (np.arange(self._bins) / params.bins_per_octave)
        self._matrix = cepstral_matrix(centres, self._lowest / params.steps, params.count)  # (bins, count)
        longest = frames.sample_rate / (self._lowest * (2 ** (1 / params.bins_per_octave) - 1))  # samples
        self._context = int(np.ceil((longest / 2 + frames.n_fft) / frames.hop_length)) * frames.hop_length

    def __call__(self, block: FrameBlock) -> np.ndarray:
        import librosa

        hop = block.params.hop_length
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "n_fft=.* is too large")  # octaves far down have few samples left
            transform = librosa.cqt(
                block.span(self._context, emphasised=True),
                sr=block.params.sample_rate,
                hop_length=hop,
                fmin=self._lowest,
                n_bins=self._bins,
                bins_per_octave=self._per_octave,
            )  # (bins, frames)
        first = self._context // hop
        here = transform[:, first : first + block.last - block.first].T
        return np.log(np.maximum(here.real**2 + here.imag**2, FLOOR)) @ self._matrix


def cepstral_matrix(centres: np.ndarray, step: float, count: int) -> np.ndarray:
    """Matrix (bins, count) from values at `centres` in Hz to the DCT of their cubic spline every `step` Hz."""
    from scipy.interpolate import CubicSpline

    grid = np.arange(centres[0], centres[-1], step)
    spline = CubicSpline(centres, np.eye(len(centres)))(grid)  # (grid, bins)
    phase = (np.arange(len(grid)) + 0.5) / len(grid)
    cosines = np.cos(np.pi * np.arange(count)[:, None] * phase)  # DCT-II
    return (spline.T @ cosines.T) / len(grid)
