"""The embedded demo of few-shot voice matching: sentences of built-in voices, in the layout of `voices`."""

from pathlib import Path

from tonestack.base.section import Section
from tonestack.competition.demo import voice_set
from tonestack.competition.readers import voices
from tonestack.tables.competition import Competition

import pandas as pd
from pydantic import Field


class Params(Section):
    """Settings of the synthesis, and the number of voices to use."""

    n: int = Field(10, ge=2, description="voices made")
    prompts: int = Field(30, ge=2, description="clips to learn each from")
    voices: int = Field(0, ge=0, description="only the first so many; 0: all")
    seed: int = Field(0, ge=0, description="seed of the synthesised voices")


def read(params: Params, root: Path) -> Competition:
    """Read the demo below `root`; synthesise it first where it is absent."""
    made = {key: value for key, value in params.model_dump().items() if key != "voices"}
    voice_set.make(root, voice_set.VoiceSet(voice="formant", **made))
    return voices.read(_reader(params), root)


def scoring_table(params: Params, root: Path) -> pd.DataFrame | None:
    """True labels, from the clips' names."""
    return voices.scoring_table(_reader(params), root)


def _reader(params: Params) -> voices.Params:
    return voices.Params(voices=params.voices)
