"""Features of speech, frame by frame: one file each, chosen by name in the `story` and `picture` frontends.

A module defines `Params` (a `Section`) and a class `Feature` that follows the protocol below. The frames are those of
librosa with `center=True`: frame k is centred on sample k * hop_length, zeros beyond both ends. No torch here, and
slow libraries are imported where they are used, so that worker processes start fast.
"""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams


class FeatureProtocol(Protocol):
    """The contract of every `Feature`; `width` is its number of columns, W."""

    width: int

    def __init__(self, params: Any, frames: "SpeechFrameParams") -> None:
        """Prepare tables; a `ValueError` says why `params` do not fit the frames."""

    def __call__(self, block: "FrameBlock") -> np.ndarray:
        """Return (t, W), one row per frame of `block`; NaN where a frame has no value (the pitch of a pause)."""
