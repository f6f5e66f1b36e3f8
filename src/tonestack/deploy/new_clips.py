"""Features of recordings outside the competition, in memory: decode one file, compute its frames by one frontend.

`predictor`, `voice_matching` and the verbs `verify` and `export` use it; nothing is written to the cache.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.parts import part_params
from tonestack.features import watched
from tonestack.features.audio import BadAudio, Clip
from tonestack.features.decode import features
from tonestack.features.frontends import FrontendProtocol
from tonestack.settings.data_config import AudioParams

import numpy as np


def build_frontend(spec: dict[str, Any]) -> FrontendProtocol:
    """Return the frontend that a config describes."""
    frontend: FrontendProtocol = parts.find("frontends", spec["name"]).Frontend(
        part_params("frontends", spec, "frontend")
    )
    return frontend


def decoded(path: Path, audio: AudioParams) -> Clip:
    """Decode one recording; an unusable one is a `UserError` that names it."""
    try:
        return watched.decode_clip(path, audio)
    except BadAudio as error:
        raise UserError(f"{path}: {error}") from None


def frames(clip: Clip, frontends: Sequence[FrontendProtocol]) -> list[np.ndarray]:
    """Return the clip's frames (T, F) by every frontend."""
    return list(features(clip, frontends))
