"""BirdCLEF: a tiny set in each year's layout, from its folder to a checked submission, and oddities of its files."""

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from conftest import CLASSES, RATE, sound
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.competition import submission, windows
from tonestack.competition.readers import birdclef
from tonestack.competition.readers.birdclef import Params
from tonestack.config.call import Call
from tonestack.ensemble.tables import Tables
from tonestack.features.audio import length
from tonestack.labels import folds
from tonestack.tables import metrics
from tonestack.tables.competition import SubmissionFormat
from tonestack.tables.label_grammar import UNKNOWN
from tonestack.training import queue

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import roc_auc_score

CODES = ("22967", "47158son01", "ashgre1", "houspa")
NAMES = ("Turdus merula_Blackbird", "Passer_Sparrow", "Ardea_Grey Heron", "Passer domesticus_House Sparrow")
WORDS = ["model=clip_forest", "preset=smoke", "device=cpu", "jobs=1", "network.trees=10", "folds.n=2"]
WORDS += ["blend.bootstrap=50", "blend.searches=[single,geometric]", "stack.stackers=[logistic]"]
HEAD_2021 = (
    "primary_label,secondary_labels,type,latitude,longitude,scientific_name,common_name,author,date,filename,license,"
    "rating,time,url"
)
HEAD_2025 = (
    "primary_label,secondary_labels,type,latitude,longitude,scientific_name,common_name,class_name,inat_taxon_id,"
    "author,license,rating,url,filename,collection"
)
HEAD_2020 = (
    "rating,ebird_code,channels,date,filename,species,secondary_labels,sci_name,latitude,sampling_rate,type,xc_id,"
    "country,author,primary_label,longitude,length,time,recordist,license"
)


def record(path: Path, kinds: tuple[int, ...], seconds: float, seed: int = 0) -> None:
    """Write a recording in which the sounds of some classes (places in `CODES`) are heard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, *kinds])
    wave = np.float32(0.01 * rng.normal(size=int(seconds * RATE)))
    for kind in kinds:
        wave += sound(CLASSES[kind], seconds, rng)[: len(wave)] / 2
    kind_of = {".ogg": "OGG", ".mp3": "MP3", ".flac": "FLAC"}
    soundfile.write(path, wave, RATE, format=kind_of.get(path.suffix.lower()))


def text(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


def focal(root: Path, source: str, head: str, folder: str = "train_audio", **cells: Callable[[int, str], str]) -> None:
    """24 focal recordings of the four classes. cells: what stands in a column, by number and code; else blank."""
    table = pd.DataFrame("", index=range(24), columns=head.split(","))
    label = "ebird_code" if "ebird_code" in table else "primary_label"
    table[label] = [CODES[n % 4] for n in range(24)]
    table["rating"] = [str(n % 6) for n in range(24)]  # 0: none
    table["author"] = [f"recordist {n % 7}" for n in range(24)]
    table["secondary_labels"] = ["[]"] * 23 + ["['']"]
    if "type" in table:
        table["type"] = "['call', 'song']"
    for column, cell in cells.items():
        table[column] = [cell(n, code) for n, code in enumerate(table[label])]
    for n, name in enumerate(table["filename"]):
        path = name if "/" in name else f"{CODES[n % 4]}/{name}"
        record(root / folder / path, (n % 4,), 0.4, n)
    table.to_csv(root / source, index=False)


def in_folder(n: int, code: str) -> str:
    return f"{code}/XC{n}.ogg"


def alone(n: int, code: str) -> str:
    return f"XC{n}.ogg"


def scores_sample(root: Path, stem: str = "soundscape_1") -> None:
    text(root / "sample_submission.csv", ",".join(["row_id", *CODES]), *(f"{stem}_{s},0,0,0,0" for s in (5, 10, 15)))


def year2021(root: Path) -> Path:
    focal(root, "train_metadata.csv", HEAD_2021, "train_short_audio", filename=alone)
    rows = ["row_id,site,audio_id,seconds,birds"]
    for n, (number, site) in enumerate(((7019, "COR"), (2782, "SSW"), (54955, "SSW"))):
        record(root / f"train_soundscapes/{number}_{site}_20190904.ogg", (n, n + 1), 12.0, n)
        label = f"{CODES[n + 1]} {CODES[n]}"
        rows += [f"{number}_{site}_{s},{site},{number},{s},{label if s < 10 else 'nocall'}" for s in (5, 10)]
    text(root / "train_soundscape_labels.csv", *rows)
    text(root / "test.csv", "row_id,site,audio_id,seconds", "20152_SSW_5,SSW,20152,5")
    text(root / "sample_submission.csv", "row_id,birds", "20152_SSW_5,nocall")
    for n, name in enumerate(("20152_SSW_20170805", "57610_COR_20190904")):
        record(root / f"test_soundscapes/{name}.ogg", (n,), 11.0, 50 + n)
    return root


def year2023(root: Path) -> Path:
    focal(root, "train_metadata.csv", HEAD_2021.replace("date,", "").replace("time,", ""), filename=in_folder)
    scores_sample(root)
    for n in range(2):
        record(root / f"test_soundscapes/soundscape_{10 + n}.ogg", (n,), 10.0, 50 + n)
    return root


def year2024(root: Path) -> Path:
    for n in range(2):
        record(root / f"unlabeled_soundscapes/{1000 + n}.ogg", (n,), 10.0, 70 + n)
    return year2023(root)


def year2025(root: Path) -> Path:
    focal(root, "train.csv", HEAD_2025, filename=in_folder)
    text(
        root / "taxonomy.csv",
        "primary_label,inat_taxon_id,scientific_name,common_name,class_name",
        *(f"{code},{n},{name.replace('_', ',')},Aves" for n, (code, name) in enumerate(zip(CODES, NAMES, strict=True))),
    )
    scores_sample(root)
    for n in range(2):
        record(root / f"train_soundscapes/H02_2023042{n}_074000.ogg", (n,), 10.0, 70 + n)
        record(root / f"test_soundscapes/soundscape_{10 + n}.ogg", (n,), 10.0, 50 + n)
    return root


def year2026(root: Path) -> Path:
    focal(root, "train.csv", HEAD_2025, filename=in_folder)
    taxa = zip((*CODES, "1491113"), (*NAMES, "Rana_Frog"), strict=True)  # the last has no recording
    text(
        root / "taxonomy.csv",
        "primary_label,inat_taxon_id,scientific_name,common_name,class_name",
        *(f"{code},{n},{name.replace('_', ',')},Aves" for n, (code, name) in enumerate(taxa)),
    )
    text(
        root / "sample_submission.csv",
        ",".join(["row_id", "1491113", *CODES]),
        "BC2026_Test_1_S9_0_0_5,0,0,0,0,0",
    )
    rows = ["filename,start,end,primary_label"]
    for n in range(4):
        name = f"BC2026_Train_000{n}_S0{n // 2}_2025010{n}_02{n}000.ogg"
        record(root / "train_soundscapes" / name, (n, (n + 1) % 4), 15.0, n)
        label = f"{CODES[n]};{CODES[(n + 1) % 4]}" + (";1491113" if n == 0 else "")
        rows += [f"{name},00:00:{s:02d},00:00:{s + 5:02d},{label}" for s in (0, 5)] * 2  # every row twice
    text(root / "train_soundscapes_labels.csv", *rows)
    for n in range(2):
        record(root / f"train_soundscapes/BC2026_Train_100{n}_S00_20250301_020000.ogg", (n,), 15.0, 60 + n)
        record(root / f"test_soundscapes/BC2026_Test_000{n}_S09_20250201_03{n}000.ogg", (n,), 10.0, 50 + n)
    return root


def call_of(data: str, root: Path, *words: str) -> Call:
    return Call.from_arguments([f"data={data}", f"root={root}", *WORDS, *words])


def submitted(call: Call) -> pd.DataFrame:
    """`./run.sh submit`, which runs all that it needs; the submission, read back and checked."""
    importlib.import_module("submit").run(call)
    form, path = call.competition().submission, call.submissions / "submission.csv"
    assert form is not None
    submission.read(path, form, call.competition().classes)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def refused(params: Params, root: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        birdclef.read(params, root)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


# --------------------------------------------------------------------------------------- from a folder to a submission


@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_years_of_scores(year: int, tmp_path: Path) -> None:
    layouts = {2023: year2023, 2024: year2024, 2025: year2025}
    call = call_of(f"birdclef{year}", layouts[year](tmp_path / "in"))
    made = submitted(call)
    assert list(made.columns) == ["row_id", *CODES]
    assert made["row_id"].tolist() == [f"soundscape_{n}_{s}" for n in (10, 11) for s in (5, 10)]
    found = call.competition()
    assert (
        found.pool["path"].tolist()
        == {
            2023: [],
            2024: ["unlabeled_soundscapes/1000.ogg", "unlabeled_soundscapes/1001.ogg"],
            2025: ["train_soundscapes/H02_20230420_074000.ogg", "train_soundscapes/H02_20230421_074000.ogg"],
        }[year]
    )
    assert found.train["verified"].all()
    assert call.data.metric == {2023: "padded_cmap@5"}.get(year, "auc")
    assert (made[list(CODES)].astype(float) < 1).all(axis=None)  # at 1, a class without positives costs padded cmAP


def test_columns_of_the_folds_and_of_the_names_are_known_beside_each_other(tmp_path: Path) -> None:
    root = year2026(tmp_path / "in")
    call = Call.from_arguments(["data=birdclef2026", f"root={root}", "model=patches", "preset=smoke", "folds.n=2"])
    importlib.import_module("make_folds").run(call)
    table = call.labels.folds
    patches = call.experiment("patches", "r0")
    found = queue.columns_of(call.competition(), table, patches)
    assert found == {"verified": dict(zip(table["clip_id"], table["verified"], strict=True))}
    assert 0 < sum(found["verified"].values()) < len(table)
    changed = patches.config.model_copy(update={"network": {"columns": ["site", "verified", "hour"]}})
    found = queue.columns_of(call.competition(), table, replace(patches, config=changed))
    assert found["hour"]["BC2026_Test_0000_S09_20250201_030000_5"] == "03"


def test_2026_is_scored_on_labelled_soundscapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = call_of(
        "birdclef2026", year2026(tmp_path / "in"), "fold_levels=kept"
    )  # scores by hand are of rows as they are
    made = submitted(call)
    assert list(made.columns) == ["row_id", "1491113", *CODES]
    stems = [f"BC2026_Test_000{n}_S09_20250201_03{n}000" for n in (0, 1)]
    assert made["row_id"].tolist() == [f"{stem}_{s}" for stem in stems for s in (5, 10)]
    table = folds.read(call.folds)
    marked = table[table["verified"]]
    assert len(marked) == 12  # three windows of each labelled file, the last of them without a row
    assert marked["label"].tolist()[:3] == ["22967,47158son01,1491113"] * 2 + [""]
    assert (marked.groupby(marked["clip_id"].str[:17])["fold"].nunique() == 1).all()
    assert not table[~table["verified"]]["clip_id"].str.startswith("BC2026").any()
    competition = call.competition()
    assert competition.pool["path"].str.contains("Train_100").tolist() == [True, True]
    said = capsys.readouterr().out
    assert "train_soundscapes_labels.csv: 8 rows name a window again; they are united" in said
    assert "scored on 12 windows of 4 labelled soundscapes (4 of them hold nothing)" in said
    column = "focal auc"
    printed = next(line for line in said.splitlines() if line.startswith("  clip_forest@r0 fold 0:"))
    receipt = json.loads((call.oof / "clip_forest@r0/fold0.json").read_text())
    assert f"{column} {receipt['metrics_apart'][column]:.4f}" in printed
    assert set(receipt["metrics"]) == {"auc", "mean_average_precision", "log_loss"}  # of soundscapes alone
    rows = pd.concat(pd.read_parquet(path) for path in (call.oof / "clip_forest@r0").glob("*.parquet"))
    rows = rows[rows["part"] == "oof"].set_index("clip_id").loc[table[~table["verified"]]["clip_id"]]
    truth = np.array([[code in cell.split(",") for code in competition.classes] for cell in table["label"][:24]])
    by_hand = roc_auc_score(truth[:, 1:], rows[list(CODES)], average="macro")  # no focal recording of the first class
    board = pd.read_csv(call.oof / "leaderboard.csv").set_index("experiment")
    assert board.loc["clip_forest@r0", column] == pytest.approx(by_hand)
    assert board.loc["clip_forest@r0", column] != board.loc["clip_forest@r0", "cv"]
    facts = competition.extras["clips"].set_index("clip_id")
    assert facts.loc[f"{stems[0]}_5"].to_dict() == {"site": "S09", "date": "20250201", "hour": "03"}


def test_without_test_recordings_models_are_trained_and_blended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = year2026(tmp_path / "in")
    for path in (root / "test_soundscapes").iterdir():
        path.unlink()
    call = call_of("birdclef2026", root)
    importlib.import_module("submit").run(call)
    said = capsys.readouterr().out
    assert "test_soundscapes: no recording yet, so there is nothing to predict (Kaggle fills it later)" in said
    assert "no test set: nothing to submit" in said
    assert not (call.submissions / "submission.csv").exists()


def test_2021_submits_sets_from_a_threshold_found_on_soundscapes(tmp_path: Path) -> None:
    call = call_of("birdclef2021", year2021(tmp_path / "in"))
    made = submitted(call)
    assert list(made.columns) == ["row_id", "birds"]
    assert made["row_id"].tolist() == ["20152_SSW_5", "20152_SSW_10", "57610_COR_5", "57610_COR_10"]
    assert {name for cell in made["birds"] for name in cell.split(" ")} <= {*CODES, "nocall"}
    limits = read_json(call.submissions / "choice.json")["thresholds"]
    assert set(limits) == set(call.competition().classes)
    assert len(set(limits.values())) == 1  # one is shared by all classes
    tables = Tables.of(call, made=True)
    name = read_json(call.submissions / "choice.json")["table"]
    there = tables.test(name) >= next(iter(limits.values())) - 1e-6
    wanted = [{c for c, t in zip(tables.classes, row, strict=True) if t} or {"nocall"} for row in there]
    assert [set(cell.split(" ")) for cell in made["birds"]] == wanted


def test_2022_submits_a_row_a_window_and_scored_bird(tmp_path: Path) -> None:
    root = year2023(tmp_path / "in")
    text(root / "scored_birds.json", json.dumps([CODES[3], CODES[0]]))
    text(root / "sample_submission.csv", "row_id,target", f"soundscape_1_{CODES[0]}_5,False")
    call = call_of("birdclef2022", root)
    made = submitted(call)
    windows = [(n, s) for n in (10, 11) for s in (5, 10)]
    assert made["row_id"].tolist() == [f"soundscape_{n}_{c}_{s}" for n, s in windows for c in (CODES[3], CODES[0])]
    assert set(made["target"]) <= {"True", "False"}
    targets = Tables.of(call, made=True).targets
    assert (targets[:, [1, 2]] == UNKNOWN).all()  # classes that are not scored count nowhere
    assert (targets[:, [0, 3]] != UNKNOWN).all()


def test_a_sample_of_another_form_than_the_style_is_said(tmp_path: Path) -> None:
    root = year2023(tmp_path)
    refused(Params(style="set"), root, "sample_submission.csv", "reader.style=set has two columns, there are 5")


def test_a_submission_of_scores_stays_below_1() -> None:
    """BirdCLEF 2023's metric: at 1, a class without positives costs padded cmAP."""
    form = SubmissionFormat(("row_id", "a", "b"), ("x_5", "x_10"), "scores")
    for kind in (np.float32, np.float64):
        made = submission.render(form, form.ids, ("a", "b"), np.array([[1, 0.5], [0.25, 1]], dtype=kind))
        values, truth = made[["a", "b"]].to_numpy(), np.array([[1, 0], [0, 0]])
        assert values.tolist() == [[1 - 2**-24, 0.5], [0.25, 1 - 2**-24]]
        assert metrics.resolve("padded_cmap@5")(values, truth) == 1


# ------------------------------------------------------------------------------------------------------------- the rows


def test_2020_takes_its_rows_from_test_csv_and_those_of_site_3_are_whole_files(tmp_path: Path) -> None:
    call = call_of("birdclef2020", year2020(tmp_path / "in"))
    made = submitted(call)
    rows = ["site_1_0a997dff_5", "site_1_0a997dff_10", "site_3_9cc5d904"]
    assert (list(made.columns), made["row_id"].tolist()) == (["row_id", "birds"], rows)
    found = call.competition()
    test = found.test.set_index("clip_id")
    assert list(test.index) == [*rows[:2], "site_3_9cc5d904_5", "site_3_9cc5d904_10"]
    assert test["path"].tolist() == ["test_audio/0a997dff.mp3"] * 2 + ["test_audio/9cc5d904.mp3"] * 2
    assert test[["start", "end"]].iloc[1].tolist() == [5.0, 10.0]
    assert found.submission is not None
    assert found.submission.pooled == dict.fromkeys(["site_3_9cc5d904_5", "site_3_9cc5d904_10"], "site_3_9cc5d904")
    assert found.classes == CODES
    assert found.train["label"][1] == "47158son01,22967:0.5"  # the csv says Turdus merula_Blackbird
    assert found.train["path"][1] == "train_audio/47158son01/XC1.mp3"
    assert found.train["group"][8] == "recordist 1"


def year2020(root: Path) -> Path:
    focal(
        root,
        "train.csv",
        HEAD_2020,
        filename=lambda n, code: f"XC{n}.mp3",
        primary_label=lambda n, code: NAMES[CODES.index(code)],
        secondary_labels=lambda n, code: f"['{NAMES[n % 4 - 1]}', 'Corvus_Crow']",
    )
    rows = [f"site_1,site_1_0a997dff_{second},{second},0a997dff" for second in (5, 10)]
    text(root / "test.csv", "site,row_id,seconds,audio_id", *rows, "site_3,site_3_9cc5d904,,9cc5d904")
    text(root / "sample_submission.csv", "row_id,birds", "site_1_0a997dff_5,nocall")
    for n, name in enumerate(("0a997dff", "9cc5d904")):
        record(root / f"test_audio/{name}.mp3", (n,), 11.0, 50 + n)
    return root


def test_2021_names_rows_by_recording_and_site(tmp_path: Path) -> None:
    call = call_of("birdclef2021", year2021(tmp_path / "in"))
    made, found = submitted(call), call.competition()
    assert list(made.columns) == ["row_id", "birds"]
    assert made["row_id"].tolist() == ["20152_SSW_5", "20152_SSW_10", "57610_COR_5", "57610_COR_10"]
    assert {name for cell in made["birds"] for name in cell.split(" ")} <= {*CODES, "nocall"}
    marked = found.train[found.train["verified"]].set_index("clip_id")
    assert marked["label"].to_dict() == {
        "2782_SSW_20190904_5": "ashgre1,47158son01",
        "2782_SSW_20190904_10": "",
        "54955_SSW_20190904_5": "houspa,ashgre1",
        "54955_SSW_20190904_10": "",
        "7019_COR_20190904_5": "47158son01,22967",
        "7019_COR_20190904_10": "",
    }
    assert found.train["path"][0] == "train_short_audio/22967/XC0.ogg"
    assert "nocall" not in found.classes


def year2022(root: Path) -> Path:
    focal(root, "train_metadata.csv", HEAD_2021.replace("date,", ""), filename=in_folder)
    (root / "scored_birds.json").write_text('["houspa", "22967"]')
    text(
        root / "test.csv", "row_id,file_id,bird,end_time", "soundscape_453028782_houspa_5,soundscape_453028782,houspa,5"
    )
    text(root / "sample_submission.csv", "row_id,target", "soundscape_453028782_houspa_5,False")
    for n in range(2):
        record(root / f"test_soundscapes/soundscape_{453028782 + n}.ogg", (n,), 10.0, 50 + n)
    return root


def test_2022_has_rows_of_scored_birds_and_counts_those_alone(tmp_path: Path) -> None:
    call = call_of("birdclef2022", year2022(tmp_path / "in"))
    made, found = submitted(call), call.competition()
    ids = [f"soundscape_{n}_{b}_{s}" for n in (453028782, 453028783) for s in (5, 10) for b in ("houspa", "22967")]
    assert (list(made.columns), made["row_id"].tolist()) == (["row_id", "target"], ids)
    assert set(made["target"]) <= {"True", "False"}
    assert found.classes == CODES  # all are learnt
    one = Tables.of(call, ["clip_forest@r0"])
    assert (one.targets[:, [1, 2]] == UNKNOWN).all()
    assert set(np.unique(one.targets[:, [0, 3]])) == {0, 1}


def test_a_test_recording_that_cannot_be_read_has_rows_like_most_others(tmp_path: Path) -> None:
    root = year2025(tmp_path / "in")
    (root / "test_soundscapes/soundscape_12.ogg").write_bytes(b"no sound at all")
    call = call_of("birdclef2025", root)
    assert (
        call.competition()
        .notes[-1]
        .endswith(
            "1 test recordings cannot be read, first test_soundscapes/soundscape_12.ogg; they get rows like the others"
        )
    )
    made = submitted(call)
    assert made["row_id"].tolist()[-2:] == ["soundscape_12_5", "soundscape_12_10"]
    assert made.iloc[-1, 1:].tolist() == made.iloc[-2, 1:].tolist()


@pytest.mark.parametrize(("seconds", "count"), [(0.5, 1), (5.0, 1), (7.4, 1), (7.6, 2), (10.001, 2), (60.02, 12)])
def test_the_rest_of_a_recording_is_a_window_if_it_is_half_as_long_as_one(seconds: float, count: int) -> None:
    made = windows.of_lengths(pd.Series([seconds], index=["a.ogg"]), 5.0)
    assert made["end"].tolist() == [5.0 * (n + 1) for n in range(count)]


@pytest.mark.parametrize(("claimed", "name"), [(0, "none"), (RATE * 3600, "an hour"), (2**36 - 1, "all bits")])
def test_rows_are_those_of_the_samples_where_a_header_promises_more(claimed: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "test_soundscapes/s.flac"
    record(path, (0,), 12.0)
    data = bytearray(path.read_bytes())  # the stream's number of samples: the low 36 bits of bytes 18 to 26
    bits = int.from_bytes(data[18:26], "big") >> 36 << 36 | claimed
    path.write_bytes(bytes(data[:18]) + bits.to_bytes(8, "big") + bytes(data[26:]))
    assert length(path) == pytest.approx(12, abs=0.3)
    focal(tmp_path, "train.csv", HEAD_2025, filename=in_folder)
    assert birdclef.read(Params(), tmp_path).test["clip_id"].tolist() == ["s_5", "s_10"]


def test_a_recording_that_ends_early_has_the_length_that_it_has(tmp_path: Path) -> None:
    record(tmp_path / "a.flac", (2,), 20.0)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    assert 5 < length(tmp_path / "a.flac") < 15


def test_files_of_other_spelling_and_in_folders_are_found(tmp_path: Path) -> None:
    root = year2026(tmp_path)
    (root / "test_soundscapes/night").mkdir()
    moved = sorted((root / "test_soundscapes").glob("*.ogg"))[0]
    moved.rename(root / "test_soundscapes/night" / f"{moved.stem}.OGG")
    heard = sorted((root / "train_soundscapes").glob("*.ogg"))[0]
    heard.rename(heard.with_suffix(".OGG"))
    (root / "test_soundscapes/._hidden.ogg").write_bytes(b"of a Macintosh")
    (root / "test_soundscapes/readme.txt").write_text("no recording")
    found = birdclef.read(Params(), root)
    assert len(found.test) == 4
    assert sorted(found.test["path"].str[-4:].unique()) == [".OGG", ".ogg"]
    assert found.train[found.train["verified"]]["path"].iloc[0].endswith(".OGG")
    assert len(found.pool) == 2


def test_two_files_of_the_same_rows_are_refused(tmp_path: Path) -> None:
    root = year2025(tmp_path)
    record(root / "test_soundscapes/more/soundscape_10.wav", (0,), 10.0)
    refused(Params(), root, "soundscape_10.ogg", "soundscape_10.wav", "same row ids")


# ----------------------------------------------------------------------------------------------- labels of soundscapes


def test_a_missing_soundscape_keeps_its_rows_for_the_setting_of_bad_files(tmp_path: Path) -> None:
    root = year2026(tmp_path / "in")
    sorted((root / "train_soundscapes").glob("*.ogg"))[0].unlink()
    call = call_of("birdclef2026", root)
    assert len(call.competition().train) == 24 + 12
    with pytest.raises(UserError, match=r"(?s)BC2026_Train_0000.*missing"):
        importlib.import_module("prepare").run(call)
    importlib.import_module("train").run(call_of("birdclef2026", root, "audio.bad_files=skip"))


@pytest.mark.parametrize(
    ("source", "old", "new", "words"),
    [
        ("train_soundscapes_labels.csv", "00:00:05,22967", "later,22967", ("row 2", "'later'", "HH:MM:SS")),
        ("train_soundscapes_labels.csv", "00:00:00,00:00:05", "00:00:05,00:00:05", ("row 2", "no time span")),
        ("train_soundscapes_labels.csv", ";1491113", ";1491114", ("row 2", "'1491114'", "did you mean '1491113'")),
        ("train_soundscapes_labels.csv", "\nBC2026", "\n../BC2026", ("row 2", "leaves its folder")),
        ("train_soundscapes_labels.csv", "primary_label", "labels", ("no column 'primary_label'",)),
        ("train.csv", "[]", "houspa", ("row 2", "'secondary_labels' is no list such as ['a', 'b']")),
        ("train.csv", "[]", "{}", ("row 2", "no list")),
        ("train.csv", "22967/XC0.ogg", "../XC0.ogg", ("row 2", "leaves its folder")),
        ("train.csv", "22967/XC4.ogg", "22967/XC0.ogg", ("rows 2 and 6", "there twice")),
    ],
)
def test_faults_are_named(source: str, old: str, new: str, words: tuple[str, ...], tmp_path: Path) -> None:
    path = year2026(tmp_path) / source
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    refused(Params(), tmp_path, source, *words)


def test_2021s_faults_are_named(tmp_path: Path) -> None:
    path = year2021(tmp_path) / "train_soundscape_labels.csv"
    content = path.read_text()
    path.write_text(content.replace("7019,5,", "7019,2,", 1))
    refused(Params(), tmp_path, "row 2", "seconds '2'", "window of 5 s")
    path.write_text(content.replace("COR,7019,", "COR,../7019,", 1))
    refused(Params(), tmp_path, "row 2", "leaves its folder")
    path.write_text(content.replace("7019", "7018"))
    found = birdclef.read(Params(), tmp_path)
    assert "train_soundscapes/7018_COR.ogg" in set(found.train["path"])  # missing: `prepare` says so
    assert found.pool["path"].tolist() == ["train_soundscapes/7019_COR_20190904.ogg"]


def test_rows_behind_the_end_of_their_recording_are_left_out(tmp_path: Path) -> None:
    root = year2026(tmp_path)
    path = root / "train_soundscapes_labels.csv"
    name = "BC2026_Train_0000_S00_20250100_020000.ogg"
    text(path, *path.read_text().splitlines(), f"{name},00:00:15,00:00:20,22967", f"{name},12.5,15,houspa")
    found = birdclef.read(Params(), root)
    assert any("1 rows begin behind the end of their recording" in note for note in found.notes)
    marked = found.train[found.train["path"].str.endswith(name)].set_index("clip_id")
    stem = name.removesuffix(".ogg")
    assert list(marked.index) == [f"{stem}_5", f"{stem}_10", f"{stem}_12.5_15"]  # 10 to 15 s is labelled in part
    assert marked["label"].iloc[-1] == "houspa"


def test_soundscapes_of_a_site_stay_in_one_fold_where_asked(tmp_path: Path) -> None:
    params = Params(name_pattern=r"_(?P<site>S\d+)_", group_soundscapes="site")
    found = birdclef.read(params, year2026(tmp_path))
    assert found.train[found.train["verified"]]["group"].unique().tolist() == ["S00", "S01"]
    refused(Params(group_soundscapes="site"), tmp_path, "reader.group_soundscapes", "no group (?P<site>...)")
    refused(Params(name_pattern="("), tmp_path, "reader.name_pattern")
    refused(Params(row_stem="^a"), tmp_path, "reader.row_stem", "has no group")


# --------------------------------------------------------------------------------------------------- focal recordings


def test_secondary_labels_count_a_half_are_masked_or_ignored(tmp_path: Path) -> None:
    focal(
        tmp_path,
        "train.csv",
        HEAD_2025,
        filename=in_folder,
        secondary_labels=lambda n, code: "['houspa', 'redava', '22967', 'houspa']" if n == 1 else "",
    )
    cells = {0.5: "houspa:0.5,22967:0.5", 1.0: "houspa,22967", "mask": "?houspa,?22967", "ignore": ""}
    for secondary, cell in cells.items():
        found = birdclef.read(Params.parse({"secondary": secondary}, "reader"), tmp_path)
        assert found.train["label"][1] == ",".join(filter(None, ["47158son01", cell]))
        assert found.notes[0] == "train.csv: 1 secondary labels are no classes and are left out"


def test_rated_rows_equal_rows_and_blank_cells(tmp_path: Path) -> None:
    focal(tmp_path, "train.csv", HEAD_2025, filename=in_folder)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    text(tmp_path / "train.csv", *lines, lines[5])
    found = birdclef.read(Params(min_rating=3), tmp_path)
    assert len(found.train) == 16  # ratings go from 0 (none) to 5
    assert found.notes[:2] == (
        "train.csv: 1 rows are there twice, first row 26",
        "train.csv: 8 recordings are rated below 3 and left out",
    )
    lines[0] = lines[0].replace("author", "nobody")
    text(tmp_path / "train.csv", *lines)
    plain = birdclef.read(Params(), tmp_path)
    assert (len(plain.train), set(plain.train["group"])) == (24, {""})
    refused(Params(group_column="nobodi"), tmp_path, "train.csv: there is no column 'nobodi'; did you mean 'nobody'")
    refused(Params(name_column="common"), tmp_path, "train.csv: there is no column 'common'")
    assert birdclef.read(Params(group_column="nobody"), tmp_path).train["group"].nunique() == 7


def test_recordings_of_nothing_are_negatives(tmp_path: Path) -> None:
    focal(tmp_path, "train.csv", HEAD_2025, filename=in_folder)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    text(tmp_path / "train.csv", *lines, lines[1].replace("22967", "nocall"))
    found = birdclef.read(Params(), tmp_path)
    assert (found.train["clip_id"].iloc[-1], found.train["label"].iloc[-1]) == ("nocall/XC0.ogg", "")
    assert found.classes == CODES


def test_lists_of_scored_birds(tmp_path: Path) -> None:
    assert birdclef.scored_classes(tmp_path) == ()
    (tmp_path / "scored_birds.json").write_text(json.dumps(["akiapo", "22967"]))
    assert birdclef.scored_classes(tmp_path) == ("akiapo", "22967")
    for bad in ("{}", "[1]", "["):
        (tmp_path / "scored_birds.json").write_text(bad)
        with pytest.raises(UserError, match=r"scored_birds\.json: is no list of class names"):
            birdclef.scored_classes(tmp_path)


def test_a_folder_without_the_csv_is_refused(tmp_path: Path) -> None:
    refused(Params(), tmp_path, "there is no train.csv or train_metadata.csv", "root=")
