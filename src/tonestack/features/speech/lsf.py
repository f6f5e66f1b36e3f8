"""Line spectral frequencies (Itakura 1975): angles of the roots of the polynomials P and Q of the linear prediction.

`form: faithful` is what the voice story report calls LSF: the angles of the roots of the polynomial whose
coefficients are a 1 and then all of -[1, a_1 .. a_p]. They do not interlace and do not determine A(z).
"""

from typing import Literal

from tonestack.base.section import Section
from tonestack.features.speech import _lpc
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
from pydantic import Field, model_validator


class Params(Section):
    """Even order of the prediction; `line_spectral`, or `faithful` as in the voice story report."""

    order: int = Field(12, ge=2, le=64, description="order of the linear prediction; even")
    form: Literal["line_spectral", "faithful"] = Field(
        "line_spectral", description="line spectral frequencies, or the published code's form"
    )

    @model_validator(mode="after")
    def _check_order(self) -> "Params":
        if self.order % 2:
            raise ValueError(f"order {self.order} is odd; line spectral frequencies are computed for even orders")
        return self


class Feature:
    """Frames -> (t, order) radians, ascending in 0..pi; `faithful`: (t, order + 1) in -pi..pi."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        self.width = params.order + (params.form == "faithful")
        self._params = params

    def __call__(self, block: FrameBlock) -> np.ndarray:
        a = block.lpc(self._params.order)
        if self._params.form == "line_spectral":
            return _lpc.line_spectral_frequencies(a)
        return _lpc.root_angles(np.concatenate([np.ones((len(a), 1)), -a], axis=1))
