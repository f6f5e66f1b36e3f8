"""`./run.sh init`: what it sees of made-up folders, what it guesses, and that the config it writes works."""

import contextlib
import importlib
import io
import shutil
from pathlib import Path

from test_competitions import WORDS, recording, refused, text
from tonestack.base.files import load_yaml
from tonestack.competition.readers import table
from tonestack.competition.survey import columns, recordings, written
from tonestack.competition.survey.finding import Finding
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.labels import folds

import numpy as np
import pandas as pd
import pytest
import soundfile


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ that may be written to."""
    copy = Path(shutil.copytree(layers.CONFIGS, tmp_path / "configs"))
    monkeypatch.setattr(layers, "CONFIGS", copy)
    return copy


def init(*words: str, name: str = "own_birds") -> str:
    """`./run.sh init` with words; what it prints."""
    verb = importlib.import_module("init")
    own = dict(word.split("=", 1) for word in words)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        verb.run(Call.from_arguments([f"name={name}"]), verb.InitWords.parse(own, "test"))
    return printed.getvalue()


def aviary(root: Path) -> Path:
    """Names without a suffix, a group, quoted labels, a rare class, files of another suffix, a sample submission."""
    rows = ["recording,species,recordist,quality"]
    for n in range(24):
        species = ("Bell owl", '"Drum, wren"')[n % 2]
        rows.append(f"{100 + n},{species},person{n // 4},{n / 7:.2f}")
        recording(root / f"clips/{100 + n}.wav", n % 2, n)
    text(root / "clips/notes.txt", ["-"])
    text(root / "meta/train.csv", rows)
    for n in range(4):
        recording(root / f"unseen/{n}.wav", n % 2, 100 + n)
    text(root / "sample_submission.csv", ["id,species", *(f"{n},Bell owl" for n in range(4))])
    return root


def test_a_folder_of_ones_own_from_init_to_a_submission(tmp_path: Path, configs: Path) -> None:
    root = aviary(tmp_path / "aviary")
    said = init(f"csv={root / 'meta/train.csv'}", f"audio={root / 'clips'}")
    lines = {line[2:13].strip(): line for line in said.splitlines()}
    assert "24 below" in lines["recordings"]
    assert lines["recordings"][0] == "?"  # notes.txt is left out
    assert "16,000 Hz (24)" in lines["rates"]
    assert lines["clips"].startswith("  clips       recording + .wav: 24 of 24")
    assert "species: one label a clip" in lines["label"]
    assert "Drum, wren (12)" in lines["classes"]
    assert lines["group"].startswith("? group       recordist: 6 groups of 4.0 clips")
    assert "4 rows, the clips in unseen" in lines["test"]
    assert lines["submission"].startswith("? submission  label: id, species")
    assert lines["read"] == "  read        24 training clips of 2 classes, 4 test clips"
    assert load_yaml((configs / "data/own_birds.yaml").read_text(), "") == {
        "reader": {
            "name": "table",
            "train_csv": "meta/train.csv",
            "clip": "recording",
            "train_audio": "clips",
            "train_suffix": ".wav",
            "label": "species",
            "group": "recordist",
            "test_audio": "unseen",
            "sample_submission": "sample_submission.csv",
            "test_clip": "id",
            "test_suffix": ".wav",
        },
        "root": str(root),
        "task": "classify",
        "metric": "accuracy",
        "preset": "fast",
    }
    call = Call.from_arguments(["data=own_birds", "folds.n=2", *WORDS])
    importlib.import_module("submit").run(call)
    made = pd.read_csv(call.submissions / "submission.csv")
    assert made["species"].isin(["Bell owl", "Drum, wren"]).all()
    assert (folds.read(call.folds).groupby("group")["fold"].nunique() == 1).all()


def test_init_never_writes_over_a_config_and_refuses_in_one_line(tmp_path: Path, configs: Path) -> None:
    root = aviary(tmp_path / "aviary")
    given = f"csv={root / 'meta/train.csv'}", f"audio={root / 'clips'}"
    before = (configs / "data/demo.yaml").read_text()
    refused(lambda: init(*given, name="demo"), "demo.yaml", "name=")
    assert (configs / "data/demo.yaml").read_text() == before
    refused(lambda: init(given[0]), "csv=", "audio=")
    refused(lambda: init(f"csv={root}", given[1]), "no such file")
    refused(lambda: init(given[0], f"audio={root / 'none'}"), "no such folder")
    refused(lambda: init(given[0], f"audio={root / 'unseen'}"), "no column names a file", "0.wav", "audio=")
    refused(lambda: init(given[0], f"audio={root / 'meta'}"), "holds no recording")
    refused(lambda: init(*given, "label=specis"), "label=specis", "species")
    refused(lambda: init(*given, "group=x"), "group=x")
    assert not (configs / "data/own_birds.yaml").exists()


def test_doubts_of_lists_missing_files_and_small_classes(tmp_path: Path, configs: Path) -> None:
    root = aviary(tmp_path / "aviary")
    rows = ["file,tags", "100.wav,a;b", "101.wav,a", "102.wav,b", "102.wav,b", "109.flac,c"]
    said = init(f"csv={text(root / 'clips/list.csv', rows)}", f"audio={root / 'clips'}")
    lines = {line[2:13].strip(): line for line in said.splitlines()}
    assert "several labels, separated by ';'" in lines["label"]
    assert "1 rows have none" in lines["clips"]
    assert "1 rows name a clip again" in lines["pieces"]
    assert "3 classes have fewer clips than the 5 folds" in lines["small"]
    made = load_yaml((configs / "data/own_birds.yaml").read_text(), "")
    assert (made["reader"]["label_form"], made["reader"]["train_audio"]) == ("semicolons", "")
    assert (made["task"], made["folds"]) == ("multilabel", {"small_classes": "warn"})
    assert lines["read"][0] == "?"
    assert "there twice" in lines["read"]
    (root / "taxonomy.csv").write_text("x\n")
    said = init(f"csv={root / 'meta/train.csv'}", f"audio={root / 'clips'}", name="other")
    assert "? layout      looks like data=birdclef" in said


def test_several_labels_without_a_sample_get_scores_and_a_metric_that_fits(tmp_path: Path, configs: Path) -> None:
    root = aviary(tmp_path / "aviary")
    (root / "sample_submission.csv").unlink()
    rows = ["file,tags", *(f"{100 + n}.wav,{('a;b', 'a', 'b', 'c', 'c;a', 'b;c')[n % 6]}" for n in range(12))]
    text(root / "test.csv", ["file", *(path.name for path in sorted((root / "unseen").iterdir()))])
    init(f"csv={text(root / 'list.csv', rows)}", f"audio={root / 'clips'}")
    made = load_yaml((configs / "data/own_birds.yaml").read_text(), "")
    assert (made["task"], made["metric"], made["reader"]["style"]) == ("multilabel", "lwlrap", "scores")
    assert Call.from_arguments(["data=own_birds"]).data.metric == "lwlrap"


def test_pieces_secondary_labels_and_windows_of_files_that_are_found(tmp_path: Path, configs: Path) -> None:
    root = aviary(tmp_path / "aviary")
    (root / "sample_submission.csv").unlink()
    pieces = [f"{100 + n}.wav,0,00:00:00.15,{'ab'[n % 2]},['c'],p{n // 2}" for n in range(12)]
    pieces += ["100.wav,0.15,0.3,nocall,[],p0", "100.wav,0.15,0.3,b;a,[],p0"]
    source = text(root / "pieces.csv", ["file,start,end,primary_label,secondary_labels,site", *pieces])
    for n in range(2):
        recording(root / f"test_soundscapes/s_{n}.wav", n, n, 2.0)
    text(root / "sample_submission.csv", ["row_id,a,b,c,d", "x_1,0.1,0.1,0.1,0.1", "x_2,0.1,0.1,0.1,0.1"])
    said = init(f"csv={source}", f"audio={root / 'clips'}")
    lines = {line[2:13].strip(): line for line in said.splitlines()}
    assert "start to end of file  <- 1 rows name a piece again" in lines["pieces"]
    assert lines["secondary"].startswith("? secondary   secondary_labels: lists")
    assert "windows of 1 s" in lines["test"]
    assert lines["read"] == "  read        13 training clips of 4 classes, 4 test clips"
    given = load_yaml((configs / "data/own_birds.yaml").read_text(), "")["reader"]
    assert given["nothing"] == ["nocall"]
    assert given["classes"] == ["a", "b", "c", "d"]
    call = Call.from_arguments(["data=own_birds"])
    train = call.competition().train.set_index("clip_id")
    assert train.loc["100.wav_0_0.15", "label"] == "a,c:0.5"
    assert call.competition().test["clip_id"].tolist() == ["s_0_1", "s_0_2", "s_1_1", "s_1_2"]


def test_columns_of_classes_and_groups_in_names(tmp_path: Path, configs: Path) -> None:
    root = tmp_path / "own"
    names = [f"mic{n // 3}_{n}" for n in range(18)]
    for n, name in enumerate(names):
        recording(root / f"audio/{name}.wav", n % 2, n)
    rows = [f"{name},{n % 2},{int(n % 3 == 0)},0,{n / 7:.3f}" for n, name in enumerate(names)]
    said = init(f"csv={text(root / 'train.csv', ['name,owl,wren,hawk,quality', *rows])}", f"audio={root / 'audio'}")
    lines = {line[2:13].strip(): line for line in said.splitlines()}
    assert "3 columns of 0 and 1, several or none a row: owl, wren, hawk" in lines["label"]
    assert "6 beginnings before '_'" in lines["group"]
    assert "reader.name_pattern=^(?P<group>[^_]+)_" in lines["group"]
    words = ["data=own_birds", "reader.name_pattern=^(?P<group>[^_]+)_"]
    found = Call.from_arguments(words).competition()
    assert found.train["label"].tolist()[:4] == ["wren", "owl", "", "owl,wren"]
    assert found.train["group"].tolist()[:4] == ["mic0", "mic0", "mic0", "mic1"]


def test_pieces_and_columns_of_0_and_1_become_settings(tmp_path: Path, configs: Path) -> None:
    root = aviary(tmp_path / "aviary")
    rows = ["file,onset,offset,owl,wren,crow", "100.wav,0,1,1,0,0", "100.wav,1,2,0,1,1", "101.wav,0,1,0,0,0"]
    init(f"csv={text(root / 'clips/list.csv', rows)}", f"audio={root / 'clips'}")
    config = load_yaml((configs / "data/own_birds.yaml").read_text(), "here")
    reader = config["reader"]
    assert (reader["start"], reader["end"]) == ("onset", "offset")
    assert (reader["label_form"], reader["label_columns"]) == ("columns", ["owl", "wren", "crow"])
    train = table.read(
        table.Params.parse({k: v for k, v in reader.items() if k != "name"}, "here"), Path(config["root"])
    ).train
    assert train["label"].tolist() == ["owl", "wren,crow", ""]
    assert train["clip_id"].tolist() == ["100.wav_0_1", "100.wav_1_2", "101.wav_0_1"]


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["dog", "cat"], ""),
        (["dog bark", "cat"], ""),
        (["dog cat", "cat", "dog"], " "),
        (["dog,cat", "cat", "dog", ""], ","),
        (["dog;cat", "cat;bird", "dog", "cat"], ";"),
        (["['dog', 'cat']", "[]"], "[]"),
        (["Drum, wren", "owl"], ""),
        (["", ""], ""),
    ],
)
def test_what_parts_labels(cells: list[str], mark: str) -> None:
    assert columns.label_mark(pd.Series(cells)) == mark


def test_columns_by_name_one_hot_groups_and_beginnings() -> None:
    assert columns.by_name(["Speaker ID", "label"], columns.GROUPS) == ["Speaker ID"]
    table = pd.DataFrame(
        {"f": list("abcd"), "a": list("0101"), "b": list("1100"), "c": list("0000"), "d": list("0123")}
    )
    assert columns.one_hot(table, {"f"}) == ["a", "b", "c"]
    assert columns.label_columns(table.assign(v=["0.5", "1.5", "0.5", "1.5"], start=list("1122")), {"f"}) == ["a", "b"]
    clips = pd.DataFrame({"site": list("aabb"), "author": list("abcd"), "user": list("aaaa")})
    assert columns.groups(clips, set()) == ["site"]
    found = columns.beginnings([f"s{n // 3}_{n}.wav" for n in range(18)])
    assert found == ("_", 6)
    names = [f"{'abcdef'[n // 3]}_{n}.wav" for n in range(18)]
    assert columns.beginnings(names, pd.Series([name[0] for name in names])) is None  # the class is in the name
    assert columns.beginnings([f"s{n}_1.wav" for n in range(18)]) is None


def test_files_are_named_with_and_without_folder_and_suffix() -> None:
    paths = {"train/a/1.ogg", "train/b/2.ogg"}
    table = pd.DataFrame({"n": ["x", "y"], "path": ["a/1", "b/3"]})
    assert columns.named_files(table, paths, "train") == columns.Names("path", "train", ".ogg", 1)
    table = pd.DataFrame({"path": ["train/a/1.ogg", "train/b/2.ogg"]})
    assert columns.named_files(table, paths, "train") == columns.Names("path", "", "", 2)
    assert columns.named_files(pd.DataFrame({"n": ["x"]}), paths, "train") is None


def test_the_band_that_holds_sound(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    narrow = np.fft.irfft(np.fft.rfft(rng.normal(size=88_200)) * (np.arange(44_101) < 4000 * 2))
    soundfile.write(tmp_path / "a.wav", 0.1 * narrow, 44_100, subtype="FLOAT")
    edge = recordings.band_edge(tmp_path / "a.wav")
    assert edge == pytest.approx(4000, rel=0.05)
    found = {one.what: one for one in recordings.survey(tmp_path, ["a.wav"])}
    assert "sample_rate=8000" in found["band"].doubt or "sample_rate=9000" in found["band"].doubt
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 44_100)
    assert recordings.band_edge(tmp_path / "a.wav") is None
    (tmp_path / "b.wav").write_bytes(b"no sound")
    found = {one.what: one for one in recordings.survey(tmp_path, ["a.wav", "b.wav"])}
    assert "1 of 2 cannot be read" in found["unreadable"].said


@pytest.mark.parametrize(
    "value",
    ["on", "no", "1", "1.5", "a b", "", "x: y", "# c", "/data/x", "null", "é", 'a"b', "🦉 owl\u2028\x85", 3, True],
)
def test_values_are_read_back_from_yaml_as_they_were(value: object) -> None:
    found = [Finding("clips", "said", {"reader.clip": value}, "look: at # this")]
    assert load_yaml(written.text("x", "in put", found), "")["reader"]["clip"] == value
