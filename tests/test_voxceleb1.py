"""VoxCeleb1's layout, its splits and lists, and the demos that are synthesised in it; no audio where none is needed."""

from pathlib import Path

import download
import models
from tonestack.base.errors import UserError
from tonestack.competition.readers import voxceleb1
from tonestack.competition.readers.demos import demo_speakers
from tonestack.competition.readers.voxceleb1 import Params
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.labels import trials
from tonestack.tables.competition import Competition

import numpy as np
import pandas as pd
import pytest
import soundfile

FSDD = Path(__file__).parents[2] / "shared/data/fsdd_voxceleb1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten speakers, five videos each, four empty clips a video."""
    for s, v, n in np.ndindex(10, 5, 4):
        path = tmp_path / "wav" / f"id{10001 + s}" / f"video{v}" / f"{n:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def read(root: Path, **params: object) -> Competition:
    return voxceleb1.read(Params.parse(params, "reader"), root)


def test_a_clips_label_is_its_speaker_and_its_group_the_video(root: Path) -> None:
    found = read(root, split="none")
    first = found.train.iloc[0]
    assert (first.clip_id, first.path) == ("id10001/video0/00000.wav", "wav/id10001/video0/00000.wav")
    assert (first.label, first.group) == ("id10001", "id10001/video0")
    assert found.classes == tuple(f"id{10001 + s}" for s in range(10))
    assert found.submission is None
    assert len(found.train) == 200


def test_whole_videos_are_set_aside_for_test(root: Path) -> None:
    found = read(root)
    assert not set(found.test["group"]) & set(found.train["group"])
    assert found.test["group"].str[:7].value_counts().eq(4).all()  # one video of every speaker
    assert found.train["label"].nunique() == 10
    assert found.train["fold"].eq(-1).all()
    assert found.submission is not None
    assert (found.submission.style, found.submission.k) == ("labels", 5)
    assert set(read(root, seed=1).test["group"]) != set(found.test["group"])
    pd.testing.assert_frame_equal(found.test, read(root).test)


def test_the_documents_split_is_by_utterance(root: Path) -> None:
    found = read(root, split="utterance")
    sizes = len(found.test), int((found.train["fold"] == 0).sum()), int((found.train["fold"] == -1).sum())
    assert sizes == (40, 40, 120)
    assert set(found.test["group"]) & set(found.train["group"])  # its videos leak


def test_the_official_split_is_read(root: Path) -> None:
    with pytest.raises(UserError, match=r"iden_split\.txt: there is no such file"):
        read(root, split="official")
    names = read(root, split="none").train["clip_id"]
    lines = [f"{1 if 'video4' not in n and 'video3' not in n else 3 if 'video4' in n else 2} {n}" for n in names]
    (root / "iden_split.txt").write_text("\n".join(lines))
    found = read(root, split="official", n_speakers=4)
    assert set(found.test["group"].str[8:]) == {"video4"}
    assert set(found.train.loc[found.train["fold"] == 0, "group"].str[8:]) == {"video3"}
    assert found.train["label"].nunique() == 4
    (root / "iden_split.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(UserError, match=r"has no line for 'id10010/video4/00003\.wav'"):
        read(root, split="official")
    (root / "iden_split.txt").write_text("4 id10001/video0/00000.wav")
    with pytest.raises(UserError, match="line 1: write"):
        read(root, split="official")
    (root / "iden_split.txt").write_text("12 id10001/video0/00000.wav")
    with pytest.raises(UserError, match="line 1: write"):
        read(root, split="official")
    for encoding in ("utf-16", "latin-1"):
        (root / "iden_split.txt").write_bytes("1 id10001/vidéo0/00000.wav".encode(encoding))
        with pytest.raises(UserError, match=r"iden_split\.txt: cannot be read") as caught:
            read(root, split="official")
        assert "\n" not in str(caught.value)


def test_test_labels_are_what_the_names_say(root: Path) -> None:
    table = voxceleb1.scoring_table(Params(), root)
    assert table is not None
    assert table["clip_id"].tolist() == read(root).test["clip_id"].tolist()
    assert (table["clip_id"].str[:7] == table["label"]).all()
    assert voxceleb1.scoring_table(Params(split="none"), root) is None


@pytest.mark.parametrize("n", [3, 10])
def test_the_first_speakers(root: Path, n: int) -> None:
    assert read(root, n_speakers=n).classes == tuple(f"id{10001 + s}" for s in range(n))


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="n_speakers=11: there are 10 speakers"):
        read(root, n_speakers=11)
    with pytest.raises(UserError, match="there is no wav/<speaker>/<video>/<clip>"):
        read(tmp_path / "nowhere")
    (root / "vox1_test_wav/wav/id10001/video0").mkdir(parents=True)
    (root / "vox1_test_wav/wav/id10001/video0/00000.wav").touch()
    with pytest.raises(UserError, match=r"'id10001/video0/00000\.wav' is there in two of"):
        read(root)


# ----------------------------------------------------------------------------------------------------------- trials


def with_list(root: Path, lines: list[str]) -> dict[str, object]:
    (root / "veri_test.txt").write_text("\n".join(lines))
    return {"split": "none", "trials": "veri_test.txt"}


def test_the_lists_speakers_are_kept_out_of_training(root: Path) -> None:
    lines = [
        "1 id10009/video0/00000.wav id10009/video1/00000.wav",
        "0 id10009/video0/00000.wav id10010/video0/00001.wav",
    ]
    params = with_list(root, lines)
    found = read(root, **params)
    assert found.classes == tuple(f"id{10001 + s}" for s in range(8))
    assert len(found.test) == 3
    assert found.extras["trials"]["label"].tolist() == ["1", "0"]
    assert found.submission is not None
    assert (found.submission.columns, found.submission.style) == (("trial", "score"), "raw")
    labels = voxceleb1.scoring_table(Params.parse(params, "reader"), root)
    assert labels is not None
    assert labels["label"].tolist() == ["1", "0"]
    everybody = read(root, **params, strangers="folds")
    assert len(everybody.classes) == 10
    assert everybody.test.empty


def test_a_list_of_all_speakers_is_for_the_folds(root: Path) -> None:
    lines = [f"1 id{10001 + s}/video0/00000.wav id{10001 + s}/video1/00000.wav" for s in range(7)]
    params = with_list(root, lines)
    assert len(read(root, **params).classes) == 10
    assert voxceleb1.scoring_table(Params.parse(params, "reader"), root) is None
    assert len(read(root, **params, strangers="listed").classes) == 3


def test_a_clip_of_the_list_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"veri_test\.txt: 'id10009/video7/1\.wav' is not there"):
        read(root, **with_list(root, ["1 id10009/video7/1.wav id10009/video0/00000.wav"]))
    with pytest.raises(UserError, match=r"reader\.trials=null to have trials drawn"):
        read(root, split="none", trials="other.txt")


# ------------------------------------------------------------------------------------------------------------ demos


def test_a_demo_is_synthesised_once_with_lists_that_fit(tmp_path: Path) -> None:
    small = demo_speakers.Params(speakers=5, listed=2, sessions=3, clips=2, seconds=0.3)
    root = tmp_path / "demo"
    found = demo_speakers.read(small, root)
    assert len(found.train) + len(found.test) == 30
    info = soundfile.info(root / found.train["path"].iloc[0])
    assert info.frames / info.samplerate == pytest.approx(0.3, rel=0.35)
    assert len(read(root, split="official").train) == 20
    listed = trials.read_list(root / "veri_test.txt")
    assert set(listed["enrol"].str[:7]) == {"id10004", "id10005"}
    times = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    demo_speakers.read(small, root)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == times
    again = tmp_path / "again"
    demo_speakers.make(small, again, jobs=1)
    for path in (root / "wav").rglob("*.wav"):
        assert path.read_bytes() == (again / path.relative_to(root)).read_bytes()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/precious.txt").touch()
    with pytest.raises(UserError, match="holds something other than the speakers' demo"):
        demo_speakers.read(small, tmp_path / "other")


# ---------------------------------------------------------------------------------------------------------- configs


def test_task_verify_has_folders_and_settings_of_its_own(root: Path) -> None:
    run = Call.from_arguments(["data=voxceleb1", "task=verify", f"root={root}"])
    assert (run.name, run.data.task, run.data.metric, run.data.fold_mean) == (
        "voxceleb1_verify",
        "verify",
        "eer",
        "arithmetic",
    )
    assert run.data.blend.searches == ("single", "logistic")
    assert Call.from_arguments(["data=voxceleb1"]).data.metric == "accuracy"


def test_published_sizes_are_met() -> None:
    """Every model config that says what its document says has exactly that many parameters."""
    run = Call.from_arguments(["data=voxceleb1", "preset=full"])
    published = {name: run.experiment(name).config.published for name in layers.available("model")}
    sizes = {name: f"{said.parameters:,}" for name, said in published.items() if said}
    made = {name: models.describe(run, name)["parameters"] for name in sizes}
    assert made == sizes
    assert made["resnet18_document"] == "11,279,112"
    assert made["ecapa_document"] == "1,329,039"


def test_download_says_what_the_licence_asks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="its owners hand the files out themselves"):
        download.run(Call.from_arguments(["data=voxceleb1", f"root={root}"]))
    assert "Creative Commons" in capsys.readouterr().out


@pytest.mark.skipif(not FSDD.is_dir(), reason=f"{FSDD}: real recordings are not here")
def test_real_recordings_in_this_layout() -> None:
    found = voxceleb1.read(Params(), FSDD)
    assert (len(found.train), len(found.test), len(found.classes)) == (2400, 600, 6)
    listed = voxceleb1.read(Params(split="none", trials="veri_test.txt"), FSDD).extras["trials"]
    assert len(listed) == 4000
