"""Linear prediction coefficients by Burg's method (librosa.lpc): what the vocal tract makes of the source."""

from tonestack.base.section import Section
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field


class Params(Section):
    """Order of the prediction."""

    order: int = Field(12, ge=1, le=64, description="order of the linear prediction")


class Feature:
    """Frames -> (t, order): a_1 .. a_order of A(z) = 1 + a_1 z^-1 + ...; the constant leading 1 is left out."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        self.width = params.order

    def __call__(self, block: FrameBlock) -> np.ndarray:
        return block.lpc(self.width)[:, 1:]
