"""Missing recordings: where they were looked for, and what is there instead."""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.features import missing
from tonestack.studies import timing
from tonestack.tables.competition import Competition

import pandas as pd
import pytest


@pytest.mark.parametrize(
    ("there", "path", "reason"),
    [
        ("audio/a.flac", "audio/a.wav", "there is 'a.flac': the suffix differs"),
        ("audio/a.wav", "audio/a", "there is 'a.wav': the suffix differs (data=table: reader.train_suffix=.wav"),
        ("audio/A.WAV", "audio/a.wav", "there is 'A.WAV': upper and lower case differ"),
        ("audio/audio/a.wav", "audio/a.wav", "it lies at {root}/audio/audio/a.wav"),
        ("data/audio/a.wav", "audio/a.wav", "it lies at {root}/data/audio/a.wav"),
        ("a.wav", "audio/a.wav", "it lies at {root}/a.wav"),
        ("audio/a.wav", "audio/audio/a.wav", "it lies at {root}/audio/a.wav"),
        ("train/a.wav", "audio/b.wav", "{root} has no such folder, only train"),
        ("audio/a.wav", "audio/b.wav", "{root}/audio holds 1 other files"),
    ],
)
def test_the_likeliest_reason_is_said(there: str, path: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    said = missing.why(tmp_path, path)
    assert said.startswith(f"looked for {tmp_path / path}; ")
    assert reason.format(root=tmp_path) in said


def test_a_plan_without_recordings_is_a_line(tmp_path: Path) -> None:
    train = pd.DataFrame({"clip_id": ["a.wav"], "path": ["audio/a.wav"], "label": "x", "verified": True})
    train = train.assign(group="", fold=-1)
    competition = Competition(tmp_path, train, pd.DataFrame(columns=["clip_id", "path", "group"]), ("x", "y"), None)
    with pytest.raises(UserError, match=r"plan: none of 1 recordings can be opened: looked for .*audio/a\.wav"):
        timing.sample(competition)
