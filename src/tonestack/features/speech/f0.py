"""Fundamental frequency by Praat's autocorrelation method (Boersma 1993) through praat-parselmouth.

Praat and parselmouth are under the GPL; this is the only file that imports it. To do without, put another tracker
that gives Hz and 0 into `_track`.
"""

from tonestack.base.section import Section
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field, model_validator

REFERENCE = 100.0  # Hz, of the semitones
CONTEXT = 0.5  # seconds to either side: Praat's path through the candidates settles within it
SILENCE = 0.03  # Praat's: of the clip's peak


class Params(Section):
    """Range in Hz; `voicing` adds a column of 1 where there is a pitch, whose mean is the share of voiced speech."""

    floor: float = Field(60.0, ge=20, description="lowest pitch, Hz")
    ceiling: float = Field(500.0, le=2000, description="highest pitch, Hz")
    voicing: bool = Field(True, description="add a column that is 1 in voiced frames")

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

    def __call__(self, block: FrameBlock) -> np.ndarray:
        hertz = self._track(block)
        semitones = np.where(hertz > 0, 12 * np.log2(np.maximum(hertz, 1) / REFERENCE), np.nan)
        return np.stack([semitones, hertz > 0], axis=1)[:, : self.width]

    def _track(self, block: FrameBlock) -> np.ndarray:
        """Hz of each frame (t,), 0 where there is no pitch."""
        import parselmouth

        rate, hop = block.params.sample_rate, block.params.hop_length
        context = round(CONTEXT * rate)
        span = block.span(context, emphasised=False).astype(np.float64)
        loudest = np.abs(span).max()
        if loudest == 0:
            return np.zeros(block.last - block.first)
        pitch = parselmouth.Sound(span / loudest, sampling_frequency=rate).to_pitch_ac(
            time_step=hop / rate,
            pitch_floor=self._params.floor,
            pitch_ceiling=self._params.ceiling,
            silence_threshold=SILENCE * block.peak / loudest,  # of the clip, not of this block
        )
        centres = (context + np.arange(block.last - block.first) * hop + 0.5) / rate
        nearest = np.rint((centres - pitch.t1) / pitch.dt).astype(int)
        hertz: np.ndarray = pitch.selected_array["frequency"][np.clip(nearest, 0, pitch.n_frames - 1)]
        return hertz
