"""Tracks of speech features for long recordings: frames every 10 ms, averaged to about ten values a second.

A clip is computed in blocks of about half a minute, so that only the result grows with its length.
"""

from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features.audio import peak
from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.speech import FeatureProtocol
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field, field_validator, model_validator

PIECE = 30.0  # seconds


class Params(SpeechFrameParams):
    """Frames; features: names, or `{name: ..., **settings}`; see `features/speech/`. pool: frames per value."""

    features: tuple[dict[str, Any], ...] = Field(
        min_length=1, description="speech features: names, or {name: ..., settings}"
    )
    pool: int = Field(10, ge=1, le=10_000, description="frames averaged into one value")

    @field_validator("features", mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        return [_filled_in(one) for one in given] if isinstance(given, list | tuple) else given

    @model_validator(mode="after")
    def _check_features(self) -> "Params":
        for one in self.features:
            try:
                build(one, self)
            except ValueError as error:
                raise ValueError(f"feature {one['name']}: {error}") from None
        return self


def _filled_in(given: Any) -> dict[str, Any]:
    """A feature with all of its settings."""
    values = {"name": given} if isinstance(given, str) else dict(given) if isinstance(given, dict) else {}
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"features: {given!r} names no feature; there is: {', '.join(parts.names('features'))}")
    params = parts.find("features", name).Params.parse(values, f"features: {name}")
    return {"name": name} | params.model_dump(mode="json")


def build(section: dict[str, Any], frames: SpeechFrameParams) -> FeatureProtocol:
    """Make one feature from its section."""
    module = parts.find("features", section["name"])
    values = {key: value for key, value in section.items() if key != "name"}
    feature: FeatureProtocol = module.Feature(module.Params.model_validate(values), frames)
    return feature


class Frontend:
    """Wave float32 (n,) -> float16 (T, F): the features side by side, in the order given."""

    dtype = np.float16

    def __init__(self, params: Params) -> None:
        self.sample_rate = params.sample_rate
        self.frame_rate = params.sample_rate / params.hop_length / params.pool
        self._params = params
        self._features = [build(section, params) for section in params.features]
        self.width = sum(feature.width for feature in self._features)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return sg.to_float16(self.exact(wave))

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (T, F), before the rounding."""
        return np.concatenate(self.tracks(wave), axis=1)

    def tracks(self, wave: np.ndarray) -> list[np.ndarray]:
        """The features one by one, each float32 (T, W)."""
        p, loudest = self._params, peak(wave)
        frames = sg.frame_count(len(wave), p.n_fft, p.hop_length)
        step = max(1, round(PIECE * self.frame_rate)) * p.pool  # whole values, wherever a block ends
        made: list[list[np.ndarray]] = [[] for _ in self._features]
        for first in range(0, frames, step):
            block = FrameBlock(wave, first, min(first + step, frames), p, loudest)
            for track, feature in zip(made, self._features, strict=True):
                track.append(_means(feature(block), p.pool))
        return [_without_gaps(np.concatenate(track)) for track in made]


def _means(values: np.ndarray, pool: int) -> np.ndarray:
    """Means (t / pool, W) of runs of `pool` frames, float32; frames without a value do not count, NaN if none has."""
    starts = np.arange(0, len(values), pool)
    there = ~np.isnan(values)
    sums = np.add.reduceat(np.where(there, values, 0), starts, axis=0, dtype=np.float64)
    counts = np.add.reduceat(there.astype(np.int32), starts, axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def _without_gaps(track: np.ndarray) -> np.ndarray:
    """Fill gaps (NaN) by straight lines between their ends; a column without any value is 0."""
    for column in track.T:
        gap = np.isnan(column)
        if gap.all():
            column[:] = 0
        elif gap.any():
            column[gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), column[~gap])
    return track
