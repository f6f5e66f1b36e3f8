"""Readers of past competitions: a tiny set in each one's own layout, from its folder to a checked submission."""

import importlib
import json
from collections.abc import Iterable
from pathlib import Path

import make_folds
from conftest import RATE, sound
from refusals import refused
from tonestack.base.errors import UserError
from tonestack.competition import submission
from tonestack.competition.readers import (
    audiofolder,
    dcase,
    fsd50k,
    mlsp2013,
    rainforest,
    speech_commands,
    urbansound8k,
    whale,
)
from tonestack.config.call import Call
from tonestack.ensemble.tables import Tables
from tonestack.labels import folds

import numpy as np
import pandas as pd
import pytest
import soundfile

SOUNDS = {0: "Bell", 1: "Drum", 2: "Hiss", 3: "Whistle"}
WORDS = ["model=clip_forest", "preset=smoke", "device=cpu", "jobs=1", "network.trees=10"]
WORDS += ["blend.bootstrap=50", "blend.searches=[single,geometric]", "stack.stackers=[logistic]", "report.map_clips=20"]


def recording(path: Path, kind: int, number: int = 0, seconds: float = 0.3) -> None:
    """Write one recording of a kind of `SOUNDS`; no two of one kind and number are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = sound(SOUNDS[kind % 4], seconds, np.random.default_rng([kind, number]))
    soundfile.write(path, wave, RATE, format="AIFF" if path.suffix.lower() == ".aif" else None)


def text(path: Path, rows: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


def call_of(data: str, root: Path, *words: str, n: int = 2) -> Call:
    return Call.from_arguments([f"data={data}", f"root={root}", f"folds.n={n}", *WORDS, *words])


def submitted(call: Call, verb: str = "submit") -> pd.DataFrame:
    """`./run.sh submit` (which runs all that it needs) or another verb; the submission, read back and checked."""
    importlib.import_module(verb).run(call)
    form, path = call.competition().submission, call.submissions / "submission.csv"
    assert form is not None
    submission.read(path, form, call.competition().classes)
    return pd.read_csv(path, dtype=str)


def scored(call: Call) -> float:
    """The submission's score on the test labels that the reader finds."""
    importlib.import_module("score").run(call)
    return float(json.loads((call.oof / "scores.json").read_text())["submission.csv"]["public"])


# ------------------------------------------------------------------------------------------------------- UrbanSound8K


def urban(root: Path, audio: bool = True) -> Path:
    """Two folds of two classes; `start` and `end` lie beyond the slices' own ends."""
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for number in range(12):
        kind, fold = number % 2, 1 + number % 4 // 2
        name = f"{100 + number}-{kind}-0-{number}.wav"
        rows.append(
            f"{name},{100 + number},{60.5 + number},{64.5 + number},{1 + number % 3 // 2},{fold},{kind},{SOUNDS[kind]}"
        )
        if audio:
            recording(root / f"audio/fold{fold}" / name, kind, number)
    text(root / "metadata/UrbanSound8K.csv", rows)
    return root


def test_urbansound8k(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = call_of("urbansound8k", urban(tmp_path / "UrbanSound8K"))
    importlib.import_module("submit").run(call)
    made = folds.read(call.folds)
    assert made["fold"].tolist() == [0, 0, 1, 1] * 3
    assert made["group"].tolist() == [str(100 + n) for n in range(12)]
    assert "no test set" in capsys.readouterr().out


def test_urbansound8k_in_its_archives_folder_and_its_foreground_alone(tmp_path: Path) -> None:
    urban(tmp_path / "UrbanSound8K", audio=False)
    found = urbansound8k.read(urbansound8k.Params(), tmp_path)
    assert found.train["path"][0] == "UrbanSound8K/audio/fold1/100-0-0-0.wav"
    assert "start" not in found.train or found.train["start"].isna().all()
    assert len(urbansound8k.read(urbansound8k.Params(foreground=True), tmp_path).train) == 8
    refused(lambda: urbansound8k.read(urbansound8k.Params(), tmp_path / "other"), "other", "UrbanSound8K.csv")


# -------------------------------------------------------------------------------------------------------------- whale


def ocean(root: Path, audio: bool = True) -> Path:
    """Three days, two of them with test clips; the sample's rows are in no order."""
    names = [
        f"200903{28 + n // 8}_00{n % 8:02d}00_{n:03d}s3ms_TRAIN{n}_{int(n % 3 == 0)}.{'AIF' if n == 5 else 'aif'}"
        for n in range(24)
    ]
    tests = [f"20090401_000{n}00_{n:03d}s1ms_Test{n}.aif" for n in (3, 0, 2, 1)]
    for n, name in enumerate(names if audio else []):
        recording(root / "train2" / name, int(n % 3 == 0), n)
    for n, name in enumerate(tests if audio else []):
        recording(root / "test2" / name, n % 2, 100 + n)
    text(root / "sampleSubmission.csv", ["clip,probability", *(f"{name},0" for name in tests)])
    return root


def test_whale(tmp_path: Path) -> None:
    call = call_of("whale", ocean(tmp_path), n=3)
    made = submitted(call)
    assert list(made.columns) == ["clip", "probability"]
    assert [name.split("_")[-1] for name in made["clip"]] == ["Test3.aif", "Test0.aif", "Test2.aif", "Test1.aif"]
    assert made["probability"].astype(float).between(0, 1).all()
    table = folds.read(call.folds)
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert set(table["group"]) == {"20090328", "20090329", "20090330"}
    assert table["label"].value_counts().to_dict() == {"0": 16, "1": 8}
    assert call.data.metric == "binary_auc"


def test_whale_without_a_sample_takes_the_files_and_refuses_names_without_a_label(tmp_path: Path) -> None:
    (ocean(tmp_path) / "sampleSubmission.csv").unlink()
    assert len(whale.read(whale.Params(), tmp_path).test) == 4
    by_hour = whale.read(whale.Params(group="hour"), tmp_path)
    assert set(by_hour.train["group"]) == {"20090328_00", "20090329_00", "20090330_00"}
    recording(tmp_path / "train2/20090331_000000_001s0ms_TRAIN99.aif", 0)
    refused(lambda: whale.read(whale.Params(), tmp_path), "TRAIN99.aif", "label")
    refused(lambda: whale.read(whale.Params(), tmp_path / "none"), "train2", "unpack")


# ----------------------------------------------------------------------------------------------------- Speech Commands


SAID = ("yes", "no", "bed", "tree")
LISTED = {who: [f"{word}/{who}_nohash_{k % 2}.wav" for k, word in enumerate(SAID)] for who in ("0a0", "1a1")}


def words_of(home: Path, audio: bool = True) -> Path:
    """Four words by four speakers, 0.3 s each, and two noises of 0.95 s and 0.9 s."""
    for kind, word in enumerate(SAID):
        for n in range(4):
            path = home / word / f"{n}a{n}_nohash_{kind % 2}.wav"
            recording(path, kind, n) if audio else text(path, [""])
    for n, name in enumerate(("hum", "tap")):
        recording(home / f"_background_noise_/{name}.wav", 2, n, 0.95 - 0.05 * n)
    text(home / "_background_noise_/README.md", ["about them"])
    return home


def test_speech_of_kaggle(tmp_path: Path) -> None:
    words_of(tmp_path / "train/audio")
    text(tmp_path / "train/validation_list.txt", ["bed/0a0_nohash_0.wav"])
    text(tmp_path / "train/testing_list.txt", ["yes/1a1_nohash_0.wav"])
    tests = [f"clip_{n:03d}.wav" for n in (2, 0, 1)]
    for n, name in enumerate(tests):
        recording(tmp_path / "test/audio" / name, n, 100 + n)
    text(tmp_path / "sample_submission.csv", ["fname,label", *(f"{name},silence" for name in tests)])
    words = ["reader.words=['yes','no']", "reader.silence=0.3", "reader.silence_step=0.15"]
    call = call_of("speech2018", tmp_path, *words)
    made = submitted(call, "all")
    assert made["fname"].tolist() == tests
    assert set(made["label"]) <= {"yes", "no", "unknown", "silence"}
    table = folds.read(call.folds)
    assert table["label"].value_counts().to_dict() == {"unknown": 8, "yes": 4, "no": 4, "silence": 10}
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    train = call.competition().train.set_index("clip_id")
    assert train.loc["yes/1a1_nohash_0.wav", "group"] == train.loc["tree/1a1_nohash_1.wav", "group"] == "1a1"
    pieces = train[train["path"] == "train/audio/_background_noise_/hum.wav"]
    assert pieces.index[1] == "_background_noise_/hum_0.45"
    assert pieces["end"].max() <= 0.95
    np.testing.assert_allclose(pieces["start"], [0, 0.15, 0.3, 0.45, 0.6])


def test_speech_commands_with_its_lists(tmp_path: Path) -> None:
    words_of(tmp_path)
    text(tmp_path / "validation_list.txt", LISTED["0a0"])
    text(tmp_path / "testing_list.txt", LISTED["1a1"])
    call = call_of("speech_commands", tmp_path)
    found = call.competition()
    assert found.classes == ("bed", "no", "tree", "yes")
    assert found.train.loc[found.train["fold"] == 0, "clip_id"].tolist() == sorted(LISTED["0a0"])
    made = submitted(call)
    assert made["fname"].tolist() == sorted(LISTED["1a1"])
    assert scored(call) >= 0
    params = speech_commands.Params(words=("yes", "no"), unknown=False, silence=0.3, split="lists")
    found = speech_commands.read(params, tmp_path)
    assert found.classes == ("no", "silence", "yes")
    assert set(found.train.loc[found.train["fold"] == 0, "label"]) == {"no", "silence", "yes"}
    noise = found.train[found.train["label"] == "silence"]
    assert set(noise.loc[noise["fold"] == -1, "path"]) == {"_background_noise_/tap.wav"}


def test_speech_commands_refuses_a_word_without_a_folder_and_packed_files(tmp_path: Path) -> None:
    words_of(tmp_path, audio=False)
    refused(lambda: speech_commands.read(speech_commands.Params(words=("yes", "stop")), tmp_path), "'stop'", "words")
    refused(lambda: call_of("speech2018", tmp_path, "reader.words=[yes,no]"), "words", "quotes")
    nothing = call_of("speech_commands", tmp_path / "nowhere")
    refused(lambda: make_folds.run(nothing), "nowhere: holds no training clip", "check root=")
    assert not (nothing.folds / "r0.csv").exists()
    text(tmp_path / "train.7z", ["x"])
    refused(lambda: speech_commands.read(speech_commands.Params(), tmp_path), "train.7z", "7z x")


# ------------------------------------------------------------------------------------------------------------- FSD50K


def freesound(root: Path, audio: bool = True) -> Path:
    """Names that look like numbers, a class without a clip, a quoted list of labels, a vocabulary without a header."""
    truth = root / "FSD50K.ground_truth"
    labels = ["Bell", "Drum", '"Bell,Metal"', '"Drum,Metal"']
    dev = [f"{64760 + n},{labels[n % 4]},/m/0{n},{'val' if n % 3 == 0 else 'train'}" for n in range(16)]
    text(truth / "dev.csv", ["fname,labels,mids,split", *dev])
    text(truth / "eval.csv", ["fname,labels,mids", *(f"{37199 + n},{labels[n % 4]},/m/0{n}" for n in range(4))])
    text(truth / "vocabulary.csv", ["0,Bell,/m/01", "1,Drum,/m/02", "2,Metal,/m/03", "3,Organ,/m/04"])
    for n in range(16 if audio else 0):
        recording(root / f"FSD50K.dev_audio/{64760 + n}.wav", n % 2, n)
    for n in range(4 if audio else 0):
        recording(root / f"FSD50K.eval_audio/{37199 + n}.wav", n % 2, 100 + n)
    return root


def test_fsd50k(tmp_path: Path) -> None:
    call = call_of("fsd50k", freesound(tmp_path))
    made = submitted(call)
    assert made["fname"].tolist() == ["37199", "37200", "37201", "37202"]
    assert list(made.columns) == ["fname", "Bell", "Drum", "Metal", "Organ"]
    table = folds.read(call.folds)
    assert table["clip_id"].tolist()[:2] == ["64760", "64761"]
    assert table["fold"].tolist() == [0 if n % 3 == 0 else -1 for n in range(16)]
    assert scored(call) > 0


def test_fsd50k_vocabulary_and_uploaders(tmp_path: Path) -> None:
    root = freesound(tmp_path, audio=False)
    found = fsd50k.read(fsd50k.Params(), root)
    assert found.classes == ("Bell", "Drum", "Metal", "Organ")
    assert found.train["path"][0] == "FSD50K.dev_audio/64760.wav"
    info = {str(64760 + n): {"uploader": f"u{n // 2}", "title": "x"} for n in range(16)}
    text(root / "FSD50K.metadata/dev_clips_info_FSD50K.json", [json.dumps(info)])
    found = fsd50k.read(fsd50k.Params(official_split=False), root)
    assert set(found.train["fold"]) == {-1}
    assert found.train["group"].tolist()[:3] == ["u0", "u0", "u1"]
    del info["64763"]
    text(root / "FSD50K.metadata/dev_clips_info_FSD50K.json", [json.dumps(info)])
    refused(lambda: fsd50k.read(fsd50k.Params(), root), "dev_clips_info", "64763")
    text(root / "FSD50K.ground_truth/vocabulary.csv", ["0,Bell,/m/01", "1,Drum"])
    refused(lambda: fsd50k.read(fsd50k.Params(), root), "vocabulary.csv", "row 2", "2 cells")


# ---------------------------------------------------------------------------------------------------------- MLSP 2013


def birds(root: Path, audio: bool = True) -> Path:
    """Sixteen recordings, two cut from each longer one; lines of any length; every fourth recording is a test clip."""
    home = root / "mlsp_contest_dataset/essential_data"
    names = [f"PC{1 + n // 2}_20090606_0500{n // 2:02d}_00{n % 2}0" for n in range(16)]
    labels = [["2"], [], ["0", "1"], ["?"]]
    text(home / "rec_id2filename.txt", ["rec_id,filename", *(f"{n},{name}" for n, name in enumerate(names))])
    text(home / "CVfolds_2.txt", ["rec_id,fold", *(f"{n},{int(n % 4 == 3)}" for n in range(16))])
    species = ["0,BRCR,Brown Creeper", "1,PAWR,Pacific Wren", "2,PSFL,Pacific-slope Flycatcher"]
    text(home / "species_list.txt", ["class_id,code,species", *species])
    lines = [",".join([str(n), *labels[n % 4]]) for n in range(16)]
    text(home / "rec_labels_test_hidden.txt", ["rec_id,[labels]", *lines])
    ids = [n * 100 + one for n in (7, 3, 11, 15) for one in range(3)]
    text(root / "sample_submission.csv", ["Id,Probability", *(f"{one},0" for one in ids)])
    for n, name in enumerate(names if audio else []):
        recording(home / f"src_wavs/{name}.wav", (2, 3, 0, n // 4)[n % 4], n)
    return root


def test_mlsp2013(tmp_path: Path) -> None:
    call = call_of("mlsp2013", birds(tmp_path))
    made = submitted(call)
    assert list(made.columns) == ["Id", "Probability"]
    assert made["Id"].tolist()[:4] == ["700", "701", "702", "300"]
    assert made["Probability"].astype(float).between(0, 1).all()
    table = folds.read(call.folds).set_index("clip_id")["label"]
    assert table["PC1_20090606_050000_0000"] == "PSFL"
    assert table["PC1_20090606_050000_0010"] == ""
    assert table["PC2_20090606_050001_0000"] == "BRCR,PAWR"
    read = submission.read(call.submissions / "submission.csv", call.rows.form, call.competition().classes)
    assert read.shape == (4, 3)
    path = text(tmp_path / "truth.csv", ["clip_id,label", "PC2_20090606_050001_0010,PSFL", "PC4_20090606_050003_0010,"])
    assert scored(call.but(scoring=str(path))) >= 0


def test_mlsp2013_groups_and_a_submission_without_a_sample(tmp_path: Path) -> None:
    (birds(tmp_path, audio=False) / "sample_submission.csv").unlink()
    found = mlsp2013.read(mlsp2013.Params(), tmp_path)
    assert found.submission.ids[:4] == ("300", "301", "302", "700")
    assert found.train["group"].tolist()[:3] == ["PC1_20090606_050000", "PC1_20090606_050000", "PC2_20090606_050001"]
    assert found.train["path"][0] == "mlsp_contest_dataset/essential_data/src_wavs/PC1_20090606_050000_0000.wav"


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("rec_labels_test_hidden.txt", "2,0,1", "2,0,9", ("row 4", "'9'", "class_id")),
        ("rec_labels_test_hidden.txt", "2,0,1", "2,?", ("'2'", "without labels")),
        ("rec_labels_test_hidden.txt", "2,0,1", "1,0", ("row 4", "'1'", "twice")),
        ("CVfolds_2.txt", "3,1", "3,2", ("row 5", "'2'")),
        ("CVfolds_2.txt", "3,1", "33,1", ("'3'", "no row")),
        ("species_list.txt", "1,PAWR", "x,PAWR", ("row 3", "'x'")),
    ],
)
def test_mlsp2013_refuses_bad_files(tmp_path: Path, name: str, old: str, new: str, words: tuple[str, ...]) -> None:
    path = birds(tmp_path, audio=False) / "mlsp_contest_dataset/essential_data" / name
    path.write_text(path.read_text().replace(f"\n{old}", f"\n{new}", 1))
    refused(lambda: mlsp2013.read(mlsp2013.Params(), tmp_path), name, *words)


def test_mlsp2013_refuses_a_foreign_row_of_the_sample_and_an_absent_folder(tmp_path: Path) -> None:
    refused(lambda: mlsp2013.read(mlsp2013.Params(), tmp_path), "essential_data", "root=")
    text(birds(tmp_path, audio=False) / "sample_submission.csv", ["Id,Probability", "300,0", "400,0"])
    refused(lambda: mlsp2013.read(mlsp2013.Params(), tmp_path), "row 3", "'400'")


# --------------------------------------------------------------------------------------------------------- Rainforest


def forest(root: Path, audio: bool = True) -> Path:
    """Eight recordings with a piece of a species and pieces without; a piece given twice; test recordings of 0.9 s."""
    head = "recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max"
    there = [f"r{n:02d},{(2, 10)[n % 2]},1,0.1,100.0,0.4,900.0" for n in range(8)]
    absent = [f"r{n:02d},{(10, 2)[n % 2]},4,0.45,100.0,0.75,900.0" for n in range(8)]
    text(root / "train_tp.csv", [head, *there, there[0].replace(",1,0.1", ",4,0.1")])
    text(root / "train_fp.csv", [head, *absent])
    tests = ["t2", "t0", "t1"]
    text(root / "sample_submission.csv", ["recording_id,s2,s10", *(f"{name},0,0" for name in tests)])
    for n in range(8 if audio else 0):
        recording(root / f"train/r{n:02d}.flac", n % 2, n, 0.9)
    for n, name in enumerate(tests if audio else []):
        recording(root / f"test/{name}.flac", n % 2, 100 + n, 0.9)
    return root


def test_rainforest(tmp_path: Path) -> None:
    call = call_of("rainforest", forest(tmp_path), "reader.window=0.3")
    made = submitted(call, "all")
    assert list(made.columns) == ["recording_id", "s2", "s10"]
    assert made["recording_id"].tolist() == ["t2", "t0", "t1"]
    competition = call.competition()
    assert competition.test["clip_id"].tolist()[:3] == ["t2_0.3", "t2_0.6", "t2_0.9"]
    train = competition.train.set_index("clip_id")
    assert train.loc["r00_2_0.1_0.4", ["label", "start", "end"]].tolist() == ["s2,?*", 0.1, 0.4]
    assert train.loc["r00_10_0.45_0.75_not", "label"] == "!s10,?*"
    assert len(train) == 16
    assert "again, united with the first: 1" in competition.notes[0]
    table = folds.read(call.folds)
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    tables = Tables.of(call, ["clip_forest@r0"])
    windows = tables.test("clip_forest@r0")
    best = windows.reshape(3, 3, 2).max(axis=1)
    single = call.but(overrides=call.words.overrides | {"submit": {"table": "clip_forest@r0"}})
    importlib.import_module("submit").run(single)
    found = pd.read_csv(call.submissions / "submission.csv")
    np.testing.assert_allclose(found[["s10", "s2"]], best, rtol=1e-5)
    path = text(tmp_path / "truth.csv", ["recording_id,label", "t2,s2", "t0,s10", "t1,s2"])
    assert scored(call.but(scoring=str(path))) == 1


def test_rainforest_without_false_positives_and_with_other_classes_absent(tmp_path: Path) -> None:
    root = forest(tmp_path, audio=False)
    found = rainforest.read(rainforest.Params(false_positives=False, others="absent"), root)
    assert found.train["label"].tolist() == ["s2", "s10"] * 4
    (root / "sample_submission.csv").unlink()
    found = rainforest.read(rainforest.Params(), root)
    assert (found.classes, len(found.test), found.submission) == (("s10", "s2"), 0, None)
    path = root / "train_tp.csv"
    path.write_text(path.read_text().replace("r01,10,1,0.1", "r01,10,1,0.5"))
    refused(lambda: rainforest.read(rainforest.Params(), root), "train_tp.csv", "row 3", "'0.5'")
    path.write_text(path.read_text().replace("r01,10,1,0.5", "../r01,10,1,0.1"))
    refused(lambda: rainforest.read(rainforest.Params(), root), "row 3", "leaves its folder")


# --------------------------------------------------------------------------------------------------------- DCASE task 1

SCENES = ("airport", "metro", "park", "tram")


def scenes(root: Path, setups: int = 1, audio: bool = True) -> Path:
    """Scenes of six places, two devices; the last place is in neither part of fold 1."""
    home = root / "TAU-urban-acoustic-scenes-2019-development"
    clips = [
        (f"audio/{SCENES[k]}-city-{k * 6 + p}-{n}-a.wav", k, p, n) for k in range(2) for p in range(6) for n in range(2)
    ]
    meta = [f"{name}\t{SCENES[k]}\tcity-{k * 6 + p}\t{'ab'[n]}" for name, k, p, n in clips]
    text(home / "meta.csv", ["filename\tscene_label\tidentifier\tsource_label", *meta])
    for fold in range(1, setups + 1):
        tested = [c for c in clips if (c[2] == 4 if setups == 1 else c[2] % setups == fold - 1)]
        trained = [c for c in clips if c not in tested and (setups > 1 or c[2] < 4)]
        setup = home / "evaluation_setup"
        text(setup / f"fold{fold}_train.csv", ["filename\tscene_label", *(f"{c[0]}\t{SCENES[c[1]]}" for c in trained)])
        text(setup / f"fold{fold}_test.csv", ["filename", *(c[0] for c in tested)])
        text(
            setup / f"fold{fold}_evaluate.csv", ["filename\tscene_label", *(f"{c[0]}\t{SCENES[c[1]]}" for c in tested)]
        )
    for number, (name, k, _, _) in enumerate(clips if audio else []):
        recording(home / name, k, number)
    return root


def test_dcase(tmp_path: Path) -> None:
    call = call_of("dcase", scenes(tmp_path))
    made = submitted(call)
    assert list(made.columns) == ["filename", "scene_label"]
    assert made["filename"].tolist()[0] == "audio/airport-city-4-0-a.wav"
    assert set(made["scene_label"]) <= {"airport", "metro"}
    table = folds.read(call.folds)
    assert len(table) == 16
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert 0 <= scored(call) <= 1


def test_dcase_official_folds_devices_and_no_split(tmp_path: Path) -> None:
    found = dcase.read(dcase.Params(), scenes(tmp_path, setups=2, audio=False))
    assert found.train["fold"].tolist() == [0, 0, 1, 1] * 6
    assert found.test.empty
    assert len(dcase.read(dcase.Params(devices=("b",)), tmp_path).train) == 12
    refused(lambda: dcase.read(dcase.Params(devices=("z",)), tmp_path), "'z'", "a, b")
    assert set(dcase.read(dcase.Params(split="none"), tmp_path).train["fold"]) == {-1}
    found = dcase.read(dcase.Params(split="test"), tmp_path)
    assert (len(found.train), len(found.test)) == (12, 12)
    refused(lambda: dcase.read(dcase.Params(), tmp_path / "other"), "meta.csv")
    other = tmp_path / "TAU-urban-acoustic-scenes-2020-mobile-development"
    text(other / "meta.csv", ["filename\tscene_label\tidentifier\tsource_label", "audio/a.wav\tpark\tp\ta"])
    refused(lambda: dcase.read(dcase.Params(), tmp_path), "2019", "2020", "root=")


# -------------------------------------------------------------------------------------------------------- audiofolder


def test_audiofolder_of_folders(tmp_path: Path) -> None:
    for n in range(12):
        recording(tmp_path / f"train/{SOUNDS[n % 2]}/{n}.wav", n % 2, n)
    for n in range(4):
        recording(tmp_path / f"test/{SOUNDS[n % 2]}/{n}.wav", n % 2, 100 + n)
    call = call_of("audiofolder", tmp_path)
    made = submitted(call)
    assert made["file_name"].tolist() == ["test/Bell/0.wav", "test/Bell/2.wav", "test/Drum/1.wav", "test/Drum/3.wav"]
    assert set(made["label"]) <= {"Bell", "Drum"}
    assert scored(call) >= 0.5


def test_audiofolder_with_jsonl_of_several_labels(tmp_path: Path) -> None:
    lines = [
        {"file_name": f"{n}.wav", "tags": [SOUNDS[n % 2], "Metal"][: 1 + n % 3 // 2], "who": f"p{n}"} for n in range(12)
    ]
    text(tmp_path / "train/metadata.jsonl", map(json.dumps, lines))
    text(tmp_path / "test/metadata.jsonl", [json.dumps({"file_name": "a.wav"}), "", json.dumps({"file_name": "b.wav"})])
    for n in range(12):
        recording(tmp_path / f"train/{n}.wav", n % 2, n)
    for n, name in enumerate("ab"):
        recording(tmp_path / f"test/{name}.wav", n % 2, 100 + n)
    words = ["reader.label=tags", "reader.group=who", "reader.multilabel=true", "task=multilabel", "metric=lwlrap"]
    with pytest.raises(UserError, match=r"test/metadata\.jsonl: there is no column 'who'"):
        call_of("audiofolder", tmp_path, *words).competition()
    words.remove("reader.group=who")
    made = submitted(call_of("audiofolder", tmp_path, *words))
    assert list(made.columns) == ["file_name", "Bell", "Drum", "Metal"]
    assert made["file_name"].tolist() == ["test/a.wav", "test/b.wav"]


def test_audiofolder_with_csv_and_a_validation_part(tmp_path: Path) -> None:
    rows = [
        "file_name,label,person",
        "train/a.wav,1,x",
        "data/validation/b.wav,0,y",
        "test/c.wav,,z",
        "other/d.wav,0,w",
    ]
    text(tmp_path / "metadata.csv", rows)
    found = audiofolder.read(audiofolder.Params(group="person"), tmp_path)
    assert found.train[["clip_id", "label", "group", "fold"]].values.tolist() == [
        ["train/a.wav", "1", "x", -1],
        ["data/validation/b.wav", "0", "y", 0],
        ["other/d.wav", "0", "w", -1],
    ]
    assert found.test["clip_id"].tolist() == ["test/c.wav"]
    assert audiofolder.scoring_table(audiofolder.Params(), tmp_path) is None
    assert set(audiofolder.read(audiofolder.Params(validation=False), tmp_path).train["fold"]) == {-1}


@pytest.mark.parametrize(
    ("name", "lines", "words"),
    [
        ("metadata.csv", ["file_name,species", "a.wav,x"], ("reader.label=", "species")),
        ("metadata.csv", ["file,label", "a.wav,x"], ("metadata.csv", "'file_name'")),
        ("metadata.csv", ["file_name,label", "../a.wav,x"], ("row 2", "leaves its folder")),
        ("metadata.csv", ["file_name,label", "a.wav,"], ("row 2", "blank")),
        ("metadata.csv", ["file_name,label", "a.wav,x", "a.wav,y"], ("row 3", "twice")),
        ("metadata.csv", ["file_name,label", "a.wav,x", "./a.wav,y"], ("row 2", "row 3", "twice")),
        ("metadata.jsonl", ['{"file_name": "a.wav", "label": "x"}', "{"], ("row 2", "no JSON object")),
        ("metadata.jsonl", ['{"file_name": "a.wav", "label": ["x"]}'], ("row 1", "multilabel")),
        ("metadata.jsonl", ['{"file_name": "a.wav", "label": {"x": 1}}'], ("row 1", "no label")),
        ("metadata.jsonl", ["[1, 2]"], ("row 1", "no JSON object")),
    ],
)
def test_audiofolder_refuses_bad_metadata(tmp_path: Path, name: str, lines: list[str], words: tuple[str, ...]) -> None:
    text(tmp_path / name, lines)
    refused(lambda: audiofolder.read(audiofolder.Params(), tmp_path), *words)


def test_audiofolder_numbers_are_text_and_an_empty_root_is_refused(tmp_path: Path) -> None:
    refused(lambda: audiofolder.read(audiofolder.Params(), tmp_path), "metadata.csv", "root=")
    text(tmp_path / "metadata.jsonl", ['{"file_name": "a.wav", "label": 7}', '{"file_name": "b.wav", "label": true}'])
    assert audiofolder.read(audiofolder.Params(), tmp_path).train["label"].tolist() == ["7", "true"]


def test_audiofolder_names_files_one_way_lines_end_as_json_says_and_bad_cells_have_a_row(tmp_path: Path) -> None:
    lines = ['{"file_name": "./x/a.wav", "label": "one\u2028two"}', '{"file_name": "b.wav", "label": "x"}']
    text(tmp_path / "metadata.jsonl", lines)
    found = audiofolder.read(audiofolder.Params(), tmp_path).train
    assert found[["clip_id", "label"]].to_numpy().tolist() == [["x/a.wav", "one\u2028two"], ["b.wav", "x"]]
    (tmp_path / "metadata.jsonl").unlink()
    several = audiofolder.Params(multilabel=True)
    text(tmp_path / "metadata.csv", ["file_name,label", "a.wav,x", 'b.wav,"x,,y"'])
    refused(lambda: audiofolder.read(several, tmp_path), "metadata.csv: row 3: label 'x,,y'")
    text(tmp_path / "metadata.csv", ["file_name,label", "test/a.wav,x:7"])
    refused(lambda: audiofolder.scoring_table(several, tmp_path), "metadata.csv: row 2: label 'x:7'")
