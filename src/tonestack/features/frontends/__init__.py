"""Frontends: one file each turns a wave into an array of frames; no torch, so that worker processes start fast.

A module defines `Params` (a `Section`) and a class `Frontend` that follows the protocol below. One that also has
`on_device(frontend, device)` can be computed by a GPU, for many clips at once (see `gpu_logmel`). `VALUES` says what
its numbers are where sounds can be mixed by them in training: `dB` (levels of powers) or `samples` (of a wave).
"""

from typing import Any, Protocol

from tonestack.base import parts

import numpy as np


def centres(spec: dict[str, Any]) -> np.ndarray | None:
    """Centres (F,) in Hz of the bands of a config's frontend; None where it knows of none."""
    of = getattr(parts.find("frontends", spec["name"]), "centres", None)
    return None if of is None else np.asarray(of(parts.part_params("frontends", spec, "frontend")))


class FrontendProtocol(Protocol):
    """The contract of every `Frontend`. An instance is pickled to the workers, tables included.

    sample_rate: the rate in Hz its input must have.
    width: F, the number of bands (1 for a wave).
    frame_rate: frames per second.
    dtype: np.float16 for spectrograms, np.int16 for waves.
    """

    sample_rate: int
    width: int
    frame_rate: float
    dtype: type[np.generic]

    def __init__(self, params: Any) -> None: ...

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Turn float32 (n,), n >= 1, into (T, F) of `dtype`, T >= 1, all finite."""

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return the same as float32 (T, F), before the rounding."""


class RawWave:
    """Stands for a frontend whose features a GPU computes: workers keep the wave at its rate, float32 (n, 1)."""

    width, dtype = 1, np.float32

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.frame_rate = float(sample_rate)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return the wave as it is."""
        return wave[:, None]

    exact = __call__
