"""The embedded competition of soundscapes: its voices, its layout, its hidden labels, and one run from it to scores."""

import importlib
import json
from pathlib import Path

from tonestack import tasks
from tonestack.base.errors import UserError
from tonestack.competition import submission
from tonestack.competition.demo import calls, soundscapes, synth
from tonestack.competition.demo.soundscapes import Bout, Scene
from tonestack.competition.readers.demos import demo_soundscapes
from tonestack.config.call import Call
from tonestack.ensemble import scoring

import numpy as np
import pandas as pd
import pytest

SMALL = demo_soundscapes.Params(n_focal=36, n_labelled=6, n_unlabelled=2, n_test=4, seconds=10, seed=3)
WORDS = ["data=demo_soundscapes", "model=clip_forest", "preset=smoke", "device=cpu", "jobs=1", "network.trees=20"]
WORDS += ["folds.n=2", "blend.bootstrap=50", "blend.searches=[single,geometric]", "stack.stackers=[logistic]"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, very small."""
    root = tmp_path_factory.mktemp("soundscapes") / "demo"
    demo_soundscapes.make(SMALL, root, jobs=2)
    return root


def table(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(root / name, dtype=str, keep_default_na=False)


# ----------------------------------------------------------------------------------------------------------- the sounds


@pytest.mark.parametrize("label", calls.CLASSES)
def test_every_animal_calls_for_as_long_as_asked_and_no_two_calls_are_alike(label: str) -> None:
    for n in (3000, synth.RATE // 2, 2 * synth.RATE):
        one, two = (calls.CALLS[label](np.random.default_rng([seed, n]), n) for seed in (0, 1))
        assert one.shape == two.shape == (n,)
        assert np.isfinite(one).all()
        assert np.abs(one).max() > 0
        assert not np.allclose(one, two)


def test_an_animal_is_heard_in_the_windows_in_which_its_voice_lies() -> None:
    scene = Scene(15.0, 1, (Bout("eurnig1", 6.0, 3.0, 0.5), Bout("22967", 4.0, 2.0, 0.2)))
    wave, heard = soundscapes.sound(scene, np.random.default_rng(0), 0)
    assert heard == [["22967"], ["22967", "eurnig1"], []]
    assert wave.shape == (15 * synth.RATE,)
    assert 0.1 < np.abs(wave).max() <= 1
    edge = Scene(10.0, 1, (Bout("eurnig1", 4.97, 3.0, 0.5),))  # 30 ms, faded in, are not heard
    assert soundscapes.sound(edge, np.random.default_rng(0), 0)[1] == [[], ["eurnig1"]]


def test_far_animals_are_fainter_and_duller() -> None:
    voice = synth.unit(np.random.default_rng(0).normal(size=synth.RATE))
    near, far = (soundscapes._from_afar(np.random.default_rng(1), voice, distance) for distance in (0.0, 1.0))
    assert 20 * np.log10(near.std() / far.std()) == pytest.approx(28, abs=0.1)
    near, far = (np.abs(np.fft.rfft(wave / wave.std())) for wave in (near, far))
    assert far[10_000:].mean() < 0.5 * near[10_000:].mean()


def test_a_site_sounds_alike_at_all_hours() -> None:
    def spectrum(site: int, hour: int) -> np.ndarray:
        wave, _ = soundscapes.sound(Scene(5.0, site, ()), np.random.default_rng(hour), 0)
        return np.log(np.abs(np.fft.rfft(synth.unit(wave)))[: 5 * 8000].reshape(-1, 500).mean(axis=1))

    here, later, elsewhere = spectrum(1, 0), spectrum(1, 1), spectrum(3, 2)
    assert np.abs(here - later).mean() < 0.3 * np.abs(here - elsewhere).mean()


# ----------------------------------------------------------------------------------------------------------- the layout


def test_the_plan_has_what_makes_soundscapes_hard() -> None:
    clips = demo_soundscapes.plan(demo_soundscapes.Params())
    focal = clips[clips["part"] == "focal"]
    assert set(focal["label"]) == set(calls.CLASSES) - {demo_soundscapes.SILENT}
    counts = focal["label"].value_counts()
    assert counts.max() >= 3 * counts.min()
    scenes = zip(focal["scene"], focal["label"], strict=True)
    heard = [{bout.label for bout in scene.bouts} - {label} for scene, label in scenes]
    listed = focal["listed"].map(set)
    assert all(names <= there for names, there in zip(listed, heard, strict=True))
    assert 0.4 < sum(map(len, listed)) / sum(map(len, heard)) < 0.8  # some secondary labels are missing
    site = clips["path"].str.extract(r"_(S\d\d)_")[0]
    assert not set(site[clips["part"] == "test"]) & set(site[clips["part"] == "labelled"])
    marked = clips[clips["part"] == "labelled"]
    assert {bout.label for scene in marked["scene"] for bout in scene.bouts} == set(calls.CLASSES)
    assert clips["usage"].value_counts().to_dict() == {"": 166, "Private": 13, "Public": 7}


def test_the_demo_has_the_layout_of_2026_and_is_made_once(small: Path) -> None:
    csvs = {"train.csv", "taxonomy.csv", "train_soundscapes_labels.csv", "sample_submission.csv"}
    hidden = {"solution.csv", "truth.csv", "demo.json"}
    assert {p.name for p in small.iterdir()} == {"train_audio", "train_soundscapes", "test_soundscapes"} | csvs | hidden
    rows = table(small, "train_soundscapes_labels.csv")
    assert list(rows.columns) == ["filename", "start", "end", "primary_label"]
    assert (rows.value_counts() == 2).all()  # every row twice
    assert rows["end"].isin(["00:00:05", "00:00:10"]).all()
    assert len(table(small, "sample_submission.csv")) == 3
    train = table(small, "train.csv")
    assert list(train.columns)[:4] == ["primary_label", "secondary_labels", "type", "latitude"]
    assert not train["longitude"].str.startswith("'").any()
    got = demo_soundscapes.read(SMALL, small)
    assert list(got.classes) == calls.CLASSES
    assert (len(got.train), len(got.test), len(got.pool)) == (36 + 12, 8, 2)
    assert all((small / p).is_file() for p in [*got.train["path"], *got.test["path"], *got.pool["path"]])
    before = (small / "demo.json").stat().st_mtime_ns
    demo_soundscapes.read(SMALL, small)
    assert (small / "demo.json").stat().st_mtime_ns == before


def test_the_demo_is_the_same_whatever_the_number_of_processes(small: Path, tmp_path: Path) -> None:
    demo_soundscapes.make(SMALL, tmp_path / "again", jobs=1)
    for path in sorted(small.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(small)).read_bytes(), path.name


def test_the_hidden_labels_are_those_of_the_test_windows(small: Path) -> None:
    got, hidden = demo_soundscapes.read(SMALL, small), table(small, "solution.csv")
    assert hidden["row_id"].tolist() == got.test["clip_id"].tolist()
    assert set(hidden["usage"]) == {"Public", "Private"}
    assert hidden.groupby(hidden["row_id"].str.rsplit("_", n=1).str[0])["usage"].nunique().eq(1).all()
    clips = demo_soundscapes.plan(SMALL)
    scene = clips[clips["part"] == "test"].iloc[0]["scene"]
    first = hidden[list(calls.CLASSES)].astype(int).iloc[:2].max()
    assert set(first.index[first == 1]) == {bout.label for bout in scene.bouts}


# -------------------------------------------------------------------------------------------------------- in one run


def test_from_recordings_to_a_scored_submission(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"reader.{key}={value}" for key, value in SMALL.model_dump().items()]
    call = Call.from_arguments([*WORDS, f"root={small}", *sizes])
    for stage in ("submit", "score"):
        importlib.import_module(stage).run(call)
    form = call.competition().submission
    assert form is not None
    values = submission.read(call.submissions / "submission.csv", form, calls.CLASSES)
    assert values.shape == (8, 10)
    found = json.loads((call.oof / "scores.json").read_text())["submission.csv"]
    assert 0 <= found["private"] <= 1
    assert "focal auc" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------------- wide test labels


def wide(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["row_id,b,a,usage", *rows]) + "\n")
    return path


def test_a_column_per_class_stands_for_a_column_of_labels(tmp_path: Path) -> None:
    path, task = (
        wide(tmp_path / "s.csv", "x_5,1,1,Public", "x_10,0,0,Private", "x_15,0,1,Ignored"),
        tasks.find("multilabel"),
    )
    headings = scoring.Headings(clip=("row_id",))
    found = scoring.read(path, ("a", "b"), task, headings)
    assert found.to_numpy().tolist() == [["x_5", "a,b", "Public"], ["x_10", "", "Private"]]
    for classes, several in ((("a", "b", "c"), True), (("a", "b"), False)):
        with pytest.raises(UserError, match="needs the columns row_id and label"):
            scoring.read(path, classes, tasks.find("multilabel" if several else "classify"), headings)
    with pytest.raises(UserError, match=r"s\.csv: row 2: 'b' is '0\.5', not 0 or 1"):
        scoring.read(wide(path, "x_5,0.5,1,Public"), ("a", "b"), task, headings)
