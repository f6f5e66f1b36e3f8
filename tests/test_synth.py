"""The synthesised demo competition: sounds, layout, label noise, determinism."""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.competition.demo import synth
from tonestack.competition.readers.demos import demo

import numpy as np
import pandas as pd
import pytest
import soundfile

SMALL = demo.Params(n_train=15, n_test=12, n_padding=2, seed=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "demo"
    demo.make(SMALL, root, jobs=2)
    return root


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("label", synth.CLASSES)
def test_recordings_are_finite_bounded_and_differ(label):
    waves = [synth.recording(np.random.default_rng([1, seed]), label) for seed in range(4)]
    for wave in waves:
        assert synth.SHORTEST <= len(wave) / synth.RATE + 1e-3 <= synth.LONGEST + 1e-2
        assert np.isfinite(wave).all()
        assert 0.01 < np.abs(wave).max() <= 1
    assert len({len(wave) for wave in waves}) == 4


@pytest.mark.parametrize("label", synth.CLASSES)
def test_shortest_clip_of_every_sound(label):
    n = int(synth.SHORTEST * synth.RATE)
    sound = synth.SOUNDS["musical" if label in synth.GROUPS["musical"] else "non-musical"][label]
    for seed in range(3):
        wave = sound(np.random.default_rng(seed), n)
        assert wave.shape == (n,)
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() > 0


def test_classes_and_groups():
    assert sorted(synth.GROUPS["musical"] + synth.GROUPS["non-musical"]) == synth.CLASSES
    assert [len(names) for names in synth.GROUPS.values()] == [6, 6]


def test_noise_has_its_slope_and_bandpass_its_band():
    spectrum = np.abs(np.fft.rfft(synth.noise(np.random.default_rng(0), 2**16, 2.0))) ** 2
    hertz = np.fft.rfftfreq(2**16, 1 / synth.RATE)
    low, high = (spectrum[(hertz > f) & (hertz < 1.2 * f)].mean() for f in (400, 4000))
    assert 10 * np.log10(low / high) == pytest.approx(20, abs=1.5)  # brown: 6 dB an octave
    band = np.abs(np.fft.rfft(synth.bandpass(synth.noise(np.random.default_rng(0), 2**16), 1000, 2000))) ** 2
    assert band[(hertz > 1000) & (hertz < 2000)].sum() > 0.7 * band.sum()


def test_plan_shares():
    clips = demo.plan(demo.Params())
    train, test = clips[clips["folder"] == "audio_train"], clips[clips["folder"] == "audio_test"]
    verified, rest = train[train["manually_verified"]], train[~train["manually_verified"]]
    assert len(verified) / len(train) == pytest.approx(0.4, abs=0.01)
    assert (verified["label"] == verified["truth"]).all()
    wrong = rest[rest["label"] != rest["truth"]]
    assert len(wrong) / len(rest) == pytest.approx(1 / 3, abs=0.01)
    musical = synth.GROUPS["musical"]
    within = wrong["label"].isin(musical) == wrong["truth"].isin(musical)
    assert within.mean() == pytest.approx(0.85, abs=0.01)
    assert test["usage"].value_counts().to_dict() == {"Private": 122, "Public": 28, "Ignored": 12}
    assert set(test.loc[test["usage"] == "Ignored", "label"]) == {"None"}
    assert (test["truth"] == "").sum() == 1
    assert train["truth"].value_counts().min() >= 15
    assert clips["fname"].is_unique


def test_layout(made):
    tables = {"train.csv", "truth.csv", "sample_submission.csv", "test_post_competition.csv"}
    assert {p.name for p in made.iterdir()} == tables | {"audio_train", "audio_test", "demo.json"}
    got = demo.read(SMALL, made)
    assert (len(got.train), len(got.test), got.classes) == (15, 14, tuple(synth.CLASSES))
    assert got.train["clip_id"].str.fullmatch(r"[0-9a-f]{8}\.wav").all()
    scoring = pd.read_csv(demo.scoring_table(SMALL, made), keep_default_na=False)
    assert list(scoring.columns) == ["fname", "label", "usage"]
    assert list(scoring["fname"]) == list(got.test["clip_id"])
    assert list(pd.read_csv(made / "truth.csv").columns) == ["fname", "label"]


def test_audio(made):
    got = demo.read(SMALL, made)
    infos = [soundfile.info(made / path) for path in [*got.train["path"], *got.test["path"]]]
    assert {(i.samplerate, i.channels, i.subtype) for i in infos} == {(synth.RATE, 1, "PCM_16")}
    assert sum(i.frames == 0 for i in infos) == 1
    assert min((made / path).stat().st_size for path in got.test["path"]) == 44


def test_same_bytes_whatever_the_number_of_processes(made, tmp_path):
    demo.make(SMALL, tmp_path / "one", jobs=1)
    assert bytes_of(tmp_path / "one") == bytes_of(made)


def test_made_once_and_again_where_cut_short_or_changed(tmp_path):
    root = tmp_path / "demo"
    params = demo.Params(n_train=12, n_test=12, n_padding=0)
    demo.make(params, root, jobs=1)
    before = bytes_of(root)
    stamp = (root / "train.csv").stat().st_mtime_ns
    demo.make(params, root, jobs=1)
    assert (root / "train.csv").stat().st_mtime_ns == stamp
    (root / "demo.json").write_text('{"finished": false}')
    next((root / "audio_train").iterdir()).write_bytes(b"")
    demo.make(params, root, jobs=1)
    assert bytes_of(root) == before
    demo.make(params.model_copy(update={"seed": 1}), root, jobs=1)
    assert not set(bytes_of(root)) & {name for name in before if name.endswith(".wav")}


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something other"):
        demo.make(SMALL, tmp_path, jobs=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
