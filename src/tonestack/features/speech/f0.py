"""Fundamental frequency by probabilistic YIN (Mauch & Dixon 2014) through librosa, or by Praat.

Praat's autocorrelation (Boersma 1993) comes through praat-parselmouth. Both are under the GPL, version 3 or later, and
are not installed with tonestack; this is the only file that imports them, and only for `method: praat`.
"""

from importlib.util import find_spec
from typing import Any, Literal

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
import scipy.ndimage
from pydantic import Field, model_validator

REFERENCE = 100.0  # Hz, of the semitones
CONTEXT = 0.5  # seconds to either side: the path through the candidates settles within it
PERIODS = 3  # longest periods in a window, as many as Praat takes
SILENCE = {"pyin": 0.05, "praat": 0.03}  # of the clip's peak; pyin hears a pitch in the noise of pauses
THRESHOLDS = (2, 8)  # prior over YIN's threshold: mean 0.2, the highest of the paper's, so that noisy voices count
RESOLUTION = 0.2  # semitones between pyin's candidates; half of it is three times as slow


class Params(Section):
    """Range in Hz; `voicing` adds a column of 1 where there is a pitch, whose mean is the share of voiced speech."""

    floor: float = Field(60.0, ge=20, description="lowest pitch, Hz")
    ceiling: float = Field(500.0, le=2000, description="highest pitch, Hz")
    voicing: bool = Field(True, description="add a column that is 1 in voiced frames")
    method: Literal["pyin", "praat"] = Field(
        "pyin", description="`pyin` (librosa) or `praat` (needs `pip install praat-parselmouth`, GPL 3 or later)"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_settings_without_method(cls, given: Any) -> Any:
        """A receipt from the time when Praat was the only method has the other settings, all of them."""
        if isinstance(given, dict) and set(given) == {"floor", "ceiling", "voicing"}:
            return given | {"method": "praat"}
        return given

    @model_validator(mode="after")
    def _check_range(self) -> "Params":
        if self.ceiling <= self.floor:
            raise ValueError(f"ceiling {self.ceiling:g} Hz is not above floor {self.floor:g} Hz")
        return self


class Feature:
    """Frames -> (t, 1 or 2): semitones above 100 Hz, NaN where there is no pitch; then 1 or 0.

    It gets the wave without pre-emphasis, which would remove the fundamental.
    """

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        self.width = 1 + params.voicing
        self._params = params
        self._track = {"pyin": pyin, "praat": praat}[params.method]
        if params.floor >= frames.sample_rate / 2:
            raise ValueError(f"floor {params.floor:g} Hz is not below half the sample rate")
        if params.method == "praat" and find_spec("parselmouth") is None:
            raise UserError(
                "f0: method praat needs praat-parselmouth (GPL 3 or later): .venv/bin/python -m pip install "
                "praat-parselmouth; or say method: pyin, and train anew what was trained on Praat's pitch"
            )

    def __call__(self, block: FrameBlock) -> np.ndarray:
        span = block.span(round(CONTEXT * block.params.sample_rate), emphasised=False).astype(np.float64)
        loudest = np.abs(span).max()
        frames = block.last - block.first
        silence = SILENCE[self._params.method] * block.peak / loudest if loudest else 1.0  # of the clip, not the block
        hertz = (
            self._track(span / loudest, frames, silence, self._params, block.params) if loudest else np.zeros(frames)
        )
        semitones = np.where(hertz > 0, 12 * np.log2(np.maximum(hertz, 1) / REFERENCE), np.nan)
        return np.stack([semitones, hertz > 0], axis=1)[:, : self.width]


def pyin(span: np.ndarray, frames: int, silence: float, params: Params, by: SpeechFrameParams) -> np.ndarray:
    """Hz of each frame (t,), 0 where there is no pitch or no sample of the window is louder than `silence`.

    span: samples from CONTEXT before the first frame's centre to CONTEXT after the last one's, at most 1.
    """
    import librosa

    before = round(CONTEXT * by.sample_rate) // by.hop_length  # whole frames of context
    start = round(CONTEXT * by.sample_rate) - before * by.hop_length
    window = 2 * -(-PERIODS * by.sample_rate // (2 * round(params.floor)))
    hertz, voiced, _ = librosa.pyin(
        span[start:],
        fmin=params.floor,
        fmax=min(params.ceiling, by.sample_rate / 2),
        sr=by.sample_rate,
        frame_length=window,
        hop_length=by.hop_length,
        beta_parameters=THRESHOLDS,
        resolution=RESOLUTION,
    )
    level = scipy.ndimage.maximum_filter1d(np.abs(span[start:]), window)[:: by.hop_length]
    found: np.ndarray = np.where(voiced & (level > silence), hertz, 0)[before : before + frames]
    return found


def praat(span: np.ndarray, frames: int, silence: float, params: Params, by: SpeechFrameParams) -> np.ndarray:
    """The same by Praat's autocorrelation method."""
    import parselmouth

    pitch = parselmouth.Sound(span, sampling_frequency=by.sample_rate).to_pitch_ac(
        time_step=by.hop_length / by.sample_rate,
        pitch_floor=params.floor,
        pitch_ceiling=params.ceiling,
        silence_threshold=silence,
    )
    centres = (round(CONTEXT * by.sample_rate) + np.arange(frames) * by.hop_length + 0.5) / by.sample_rate
    nearest = np.rint((centres - pitch.t1) / pitch.dt).astype(int)
    hertz: np.ndarray = pitch.selected_array["frequency"][np.clip(nearest, 0, pitch.n_frames - 1)]
    return hertz
