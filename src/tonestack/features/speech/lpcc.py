"""Linear prediction cepstrum: cepstral coefficients of the all-pole model 1 / A(z) (Atal 1974)."""

from tonestack.base.section import Section
from tonestack.features.speech import _lpc
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field


class Params(Section):
    """Order of the prediction and number of coefficients; there may be more of these."""

    order: int = Field(12, ge=1, le=64, description="order of the linear prediction")
    count: int = Field(12, ge=1, le=256, description="cepstral coefficients; may exceed the order")


class Feature:
    """Frames -> (t, count): c_1 .. c_count."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        self.width = params.count
        self._order = params.order

    def __call__(self, block: FrameBlock) -> np.ndarray:
        return _lpc.cepstra(block.lpc(self._order), self.width)
