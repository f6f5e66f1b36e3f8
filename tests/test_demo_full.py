"""The demo of FSDKaggle2018's size: counts, layout, determinism, sounds that differ."""

from pathlib import Path

from tonestack.competition.demo import many_sounds
from tonestack.competition.readers.demos import demo_full

import numpy as np
import pandas as pd
import pytest
import soundfile

META = Path(__file__).parents[2] / "shared/data/fsdkaggle2018_meta"
TINY = demo_full.Params(scale=0.02, longest=0.5, seed=1)


def test_the_plan_has_the_real_tables_counts() -> None:
    clips = demo_full.plan(demo_full.Params())
    train, test = clips[clips["folder"] == "audio_train"], clips[clips["folder"] == "audio_test"]
    assert (len(train), int(train["manually_verified"].sum()), len(test)) == (9_473, 3_710, 9_400)
    assert test["usage"].value_counts().to_dict() == {"Ignored": 7_800, "Private": 1_299, "Public": 301}
    assert clips["fname"].is_unique
    assert train["label"].nunique() == 41
    unverified = train[~train["manually_verified"]]
    assert (train["truth"] == train["label"])[train["manually_verified"]].all()
    assert 0.3 < (unverified["truth"] != unverified["label"]).mean() < 0.37
    assert (test["truth"] == "").sum() == 3


def test_the_counts_are_the_competitions_class_by_class() -> None:
    if not META.is_dir():
        pytest.skip(f"{META} is not there")
    clips = demo_full.plan(demo_full.Params())
    ours = clips[clips["folder"] == "audio_train"].groupby("label")["manually_verified"].agg(["size", "sum"])
    real = pd.read_csv(META / "train.csv").groupby("label")["manually_verified"].agg(["size", "sum"])
    pd.testing.assert_frame_equal(ours.astype(int), real.astype(int))
    scored = pd.read_csv(META / "test_post_competition.csv").query("usage != 'Ignored'")
    assert (
        clips.query("usage in ('Public', 'Private')").groupby(["label", "usage"]).size().to_dict()
        == scored.groupby(["label", "usage"]).size().to_dict()
    )


def test_it_is_read_and_is_the_same_bytes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_full, "PADDING", 200)
    for name in "ab":
        demo_full.make(TINY, tmp_path / name, jobs=1)
    competition = demo_full.read(TINY, tmp_path / "a")
    assert len(competition.classes) == 41
    assert competition.train["label"].nunique() == 41
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == len(competition.train) + len(competition.test) + 5
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    lengths = [soundfile.info(tmp_path / "a" / path) for path in competition.train["path"]]
    assert {info.samplerate for info in lengths} == {44_100}
    assert demo_full.scoring_table(TINY, tmp_path / "a") == tmp_path / "a/test_post_competition.csv"


@pytest.mark.parametrize("label", many_sounds.CLASSES)
def test_every_class_sounds(label: str) -> None:
    wave = many_sounds.recording(np.random.default_rng(0), label, 1.0)
    assert np.isfinite(wave).all()
    assert 0.01 < np.abs(wave).max() <= 1
    assert len(wave) + 1 >= 0.3 * many_sounds.RATE


def test_long_clips_go_on_to_their_end() -> None:
    waves = [many_sounds.recording(np.random.default_rng(seed), "Flute", 30.0) for seed in range(12)]
    long = [wave for wave in waves if len(wave) > 7 * many_sounds.RATE]
    assert len(long) > 1
    assert all(np.abs(wave[-many_sounds.RATE :]).max() > 0 for wave in long)
