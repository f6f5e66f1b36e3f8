"""Labels, pieces and submissions as competitions ship them, by settings of the reader `table`."""

import importlib
from pathlib import Path
from typing import Any

from conftest import CLASSES, RATE, sound
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.competition import submission
from tonestack.competition.readers import table
from tonestack.config.call import Call
from tonestack.ensemble.tables import Tables
from tonestack.tables import label_grammar
from tonestack.tables.competition import Competition
from tonestack.tables.metrics import UNKNOWN

import numpy as np
import pandas as pd
import pytest
import soundfile


def read(root: Path, *rows: str, **params: Any) -> Competition:
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    return table.read(table.Params(**({"train_audio": "a", "test_audio": "t"} | params)), root)


def labels(root: Path, *rows: str, **params: Any) -> list[str]:
    return read(root, *rows, **params).train["label"].tolist()


def refused(root: Path, said: str, *rows: str, **params: Any) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read(root, *rows, **params)
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- forms


@pytest.mark.parametrize(
    ("form", "cells", "wanted"),
    [
        ("one", ["22967", "47158son01"], ["22967", "47158son01"]),
        ("commas", ['"owl, wren"', "owl"], ["owl,wren", "owl"]),
        ("semicolons", ["22967;ashgre1", "007"], ["22967,ashgre1", "007"]),
        ("blanks", ["owl  wren", "nocall"], ["owl,wren", ""]),
        ("list", ["\"['houspa', 'redava', 22967]\"", "[]"], ["houspa,redava,22967", ""]),
        ("list", ['"(""owl"", ""owl"")"', "\"{'b', 'a'}\""], ["owl", "a,b"]),
        ("cells", ['"owl,wren:0.5,?hawk"', '"!owl,?*"'], ["owl,wren:0.5,?hawk", "!owl,?*"]),
    ],
)
def test_forms_of_cells(tmp_path: Path, form: str, cells: list[str], wanted: list[str]) -> None:
    rows = [f"{i}.wav,{cell}" for i, cell in enumerate(cells)]
    nothing = ("nocall", "") if form in ("blanks", "list") else ()
    assert labels(tmp_path, "fname,label", *rows, label_form=form, nothing=nothing) == wanted


def test_a_blank_cell_is_nothing_only_where_the_settings_say_so(tmp_path: Path) -> None:
    rows = ("fname,label", "1.wav,owl", "2.wav,")
    for form in ("one", "commas", "semicolons", "blanks", "cells"):
        refused(tmp_path, "row 3: 'label' is blank", *rows, label_form=form)
    refused(tmp_path, "row 3: 'label' is blank", rows[0], "1.wav,['owl']", "2.wav,[]", label_form="list")
    got = read(tmp_path, *rows, label_form="semicolons", nothing=("",))
    assert got.train["label"].tolist() == ["owl", ""]
    assert got.classes == ("owl",)
    refused(tmp_path, "row 3: has 0 labels where a clip has one", *rows, nothing=("",))
    assert labels(tmp_path, *rows, label_map={"": "silence"}) == ["owl", "silence"]


@pytest.mark.parametrize(
    ("form", "cell", "said"),
    [
        ("list", "owl", "is no list such as"),
        ("list", '"[1.5]"', "is no list such as"),
        ("list", '"__import__(""os"")"', "is no list such as"),
        ("list", "[" * 50_000, "is no list such as"),
        ("list", "['" + "a" * 100_001 + "']", "is no list such as"),
        ("semicolons", "owl;", "with a blank label"),
        ("cells", '"owl,!owl"', "says two things of 'owl'"),
        ("one", "owl;wren", "seems to be several labels; say their form by reader.label_form"),
    ],
)
def test_cells_that_are_not_of_their_form_are_refused(tmp_path: Path, form: str, cell: str, said: str) -> None:
    others = ("1,owl", "2,wren") if form == "one" else ()
    row = 2 + len(others)
    refused(tmp_path, rf"train\.csv: row {row}: .*{said}", "fname,label", *others, f"3,{cell}", label_form=form)


def test_secondary_labels_weigh_are_masked_or_ignored(tmp_path: Path) -> None:
    rows = ("filename,primary_label,secondary_labels", "a/1.ogg,owl,\"['wren', 'owl', 'dodo', '']\"", "b/2.ogg,wren,[]")
    rows += ("c/3.ogg,crow,",)
    given = {
        "clip": "filename",
        "label": "primary_label",
        "label_form": "blanks",
        "secondary_label": "secondary_labels",
    }
    given |= {"classes": ("crow", "owl", "wren")}
    assert labels(tmp_path, *rows, **given) == ["owl,wren:0.5", "wren", "crow"]
    assert labels(tmp_path, *rows, **given, secondary=0.25)[0] == "owl,wren:0.25"
    assert labels(tmp_path, *rows, **given, secondary="mask")[0] == "owl,?wren"
    assert labels(tmp_path, *rows, **given, secondary="ignore")[0] == "owl"
    blanks = ("fname,label,also", "1,owl,wren crow")
    assert labels(tmp_path, *blanks, label_form="commas", secondary_label="also", secondary_form="blanks") == [
        "owl,wren:0.5,crow:0.5"
    ]


def test_a_column_a_class(tmp_path: Path) -> None:
    rows = ("fname,site,owl,wren", "1,north,1,0", "2,south,0.5,1.0", "3,north,0,0", "4,north,,-1")
    hot = {"label_form": "columns", "multilabel": True}
    assert labels(tmp_path, *rows, **hot, group="site") == ["owl", "owl:0.5,wren", "", "?owl,?wren"]
    assert labels(tmp_path, *rows, **hot, label_columns=("wren",)) == ["", "wren", "", "?wren"]
    assert read(tmp_path, *rows, **hot, classes=("wren", "owl")).classes == ("owl", "wren")
    refused(tmp_path, "row 2: 'site' is 'north', not 0, 1", *rows, **hot)
    refused(tmp_path, "no column 'wrem'; did you mean 'wren'", *rows, **hot, label_columns=("wrem",))
    one = ("fname,owl,wren", "1,1,0", "2,0,1")
    assert labels(tmp_path, *one, label_form="columns") == ["owl", "wren"]
    refused(
        tmp_path, "row 3: has 2 labels where a clip has one", "fname,owl,wren", "1,1,0", "2,1,1", label_form="columns"
    )


def test_labels_are_mapped_to_fewer_classes(tmp_path: Path) -> None:
    rows = ("fname,label", "1,yes", "2,bed", "3,_background_noise_", "4,no")
    some = {"classes": ("yes", "no"), "label_map": {"_background_noise_": "silence"}}
    got = read(tmp_path, *rows, **some, others="unknown")
    assert got.train["label"].tolist() == ["yes", "unknown", "silence", "no"]
    assert got.classes == ("no", "silence", "unknown", "yes")
    refused(tmp_path, "row 3: 'label': unknown label 'bed'", *rows, **some)


def test_the_surest_of_several_labels_of_one_class_counts(tmp_path: Path) -> None:
    given: dict[str, Any] = {"label_map": {f"A{i}": "A" for i in range(4)}, "nothing": ("",)}
    cells = ("A1,!A2", "!A1,A2:0.5", "A1:0.5,?A2", "?A1,A2", "A1,?A2", "!A1,?A2", "A1:0.3,A2:0.2,b")
    rows = ("fname,label", *(f'{i},"{cell}"' for i, cell in enumerate(cells)))
    wanted = ["A", "A:0.5", "?A", "A", "A", "?A", "A:0.3,b"]
    assert labels(tmp_path, *rows, **given, label_form="cells") == wanted
    columns = ("fname,A1,A2,b", "1,1,0,0", "2,0.5,?,1", "3,1,?,0", "4,0.2,0.7,0")
    got = labels(tmp_path, *columns, **given, label_form="columns", multilabel=True)
    assert got == ["A", "?A,b", "A", "A:0.7"]


def test_label_and_group_are_in_the_files_name(tmp_path: Path) -> None:
    whale = r"^(?P<group>\d{8})_.*_(?P<label>[01])\.aif$"
    got = read(
        tmp_path, "clip", "20090328_000000_002s3ms_TRAIN0_0.aif", "x/20090329_1_TRAIN1_1.aif", clip="clip", label="",
        name_pattern=whale,
    )  # fmt: skip
    assert got.train[["label", "group"]].to_numpy().tolist() == [["0", "20090328"], ["1", "20090329"]]
    speaker = r"^(?P<group>[0-9a-f]+)_nohash_"
    got = read(tmp_path, "fname,label", "yes/0a7c2a8d_nohash_0.wav,yes", "no/other.wav,no", name_pattern=speaker)
    assert got.train["group"].tolist() == ["0a7c2a8d", ""]
    refused(tmp_path, "row 2: reader.name_pattern finds no label in 'a.aif'", "clip", "a.aif", clip="clip", label="",
            name_pattern=whale)  # fmt: skip
    refused(tmp_path, "reader.name_pattern: .*fix the regular", "fname,label", "1,a", name_pattern="(?P<group>")
    refused(tmp_path, "give the column of the labels", "fname", "1", label="", name_pattern="(?P<group>1)")
    refused(tmp_path, "256 characters is too long to search in", "fname,label", "a" * 256 + ",x", name_pattern=speaker)


# ------------------------------------------------------------------------------------------------------ pieces of files


def test_pieces_have_times_in_seconds_or_as_on_a_clock(tmp_path: Path) -> None:
    rows = (
        "filename,start,end,primary_label",
        "S1.ogg,00:00:00,00:00:05,22967;owl",
        "S1.ogg,5,10.5,owl",
        "S2.ogg,,,wren",
    )
    given = {"clip": "filename", "label": "primary_label", "label_form": "semicolons", "start": "start", "end": "end"}
    train = read(tmp_path, *rows, **given).train
    assert train["clip_id"].tolist() == ["S1.ogg_0_5", "S1.ogg_5_10.5", "S2.ogg"]
    assert train["path"].tolist() == ["a/S1.ogg", "a/S1.ogg", "a/S2.ogg"]
    np.testing.assert_array_equal(train[["start", "end"]], [[0, 5], [5, 10.5], [np.nan] * 2])
    assert train["group"].tolist() == ["S1.ogg", "S1.ogg", "S2.ogg"]
    assert train["label"].tolist() == ["22967,owl", "owl", "wren"]
    for times, said in (("5,5", "'5' to '5' is no piece"), ("x,5", "'x' to '5'"), (",5", "'' to '5'")):
        refused(tmp_path, f"row 2: {said}", rows[0], f"S1.ogg,{times},owl", **given)
    only = {"clip": "row", "file": "f", "start": "s", "window": 5.0, "label_form": "commas"}
    train = read(tmp_path, "row,f,s,label", "r1,x/a.wav,5,owl", "r2,x/a.wav,10,wren", **only).train
    assert train[["clip_id", "path", "start", "end"]].values.tolist() == [
        ["r1", "a/x/a.wav", 5.0, 10.0],
        ["r2", "a/x/a.wav", 10.0, 15.0],
    ]
    refused(tmp_path, r"row 2: file name '\.\./b\.wav' leaves", "row,f,s,label", "r1,../b.wav,5,owl", **only)


def test_rows_that_are_there_twice_are_refused_or_united(tmp_path: Path) -> None:
    rows = ("fname,label", "1,owl", "2,wren", '1,"wren:0.5,?crow"', "1,owl")
    refused(tmp_path, "rows 2 and 4: '1' is there twice", *rows, label_form="cells")
    got = read(tmp_path, *rows, label_form="cells", repeated="unite")
    assert got.train["label"].tolist() == ["owl,wren:0.5", "wren"]
    assert got.train.index.tolist() == [0, 1]
    assert got.notes == ("train.csv: 2 rows name a clip again; their labels are united",)
    refused(tmp_path, "is for clips of several labels", *rows, repeated="unite")
    pieces = {"file": "f", "start": "s", "end": "e", "fold": "k", "label_form": "commas", "repeated": "unite"}
    head, first = "fname,f,s,e,k,label", "1,a.wav,0,5,0,owl"
    for other, said in (
        ("b.wav,0,5,0", "path"),
        ("a.wav,5,9,0", "start"),
        ("a.wav,,,0", "start"),
        ("a.wav,0,5,1", "fold"),
    ):
        refused(tmp_path, f"row 3: clip '1' has another {said}", head, first, f"1,{other},wren", **pieces)
    got = read(tmp_path, head, first, "1,a.wav,0,5,0,wren", "2,b.wav,,,1,owl", "2,b.wav,,,1,owl", **pieces)
    assert got.train["label"].tolist() == ["owl,wren", "owl"]
    refused(tmp_path, "'fname' is blank|'clip_id' is blank", head, ",a.wav,0,5,0,owl", ",a.wav,0,5,0,owl", **pieces)


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["owl", "owl"], "owl"),
        (["owl,?*", "!wren,?*"], "owl,!wren,?*"),
        (["owl,?*", "!owl,?*", "crow:0.5,?*"], "owl,crow:0.5,?*"),
        (["owl,?*", "wren"], "owl,wren"),
        (["?owl", "?owl,wren"], "?owl,wren"),
        (["", "owl"], "owl"),
    ],
)
def test_united_rows_know_what_one_of_them_knows(cells: list[str], wanted: str) -> None:
    assert label_grammar.unite(cells) == wanted


# ------------------------------------------------------------------------------------------------ test rows and samples

TRAIN = ("fname,label", "1,owl", "2,wren", "3,crow")


def sampled(root: Path, sample: str, **params: Any) -> Competition:
    (root / "s.csv").write_text(sample)
    return read(root, *TRAIN, sample_submission="s.csv", **({"label_form": "commas"} | params))


def test_a_sample_of_some_classes_and_one_that_is_an_example(tmp_path: Path) -> None:
    form = sampled(tmp_path, "fname,wren,owl\n8,0,0\n9,0,0\n", scored=("owl", "wren")).submission
    assert form is not None
    assert (form.style, form.spoken(("crow", "owl", "wren"))) == ("scores", ("wren", "owl"))
    with pytest.raises(UserError, match=r"class 'crow' has no column.*name the others by reader\.scored"):
        sampled(tmp_path, "fname,wren,owl\n8,0,0\n")
    with pytest.raises(UserError, match=r"reader\.scored: 'owk' is no class; did you mean 'owl'"):
        sampled(tmp_path, "fname,wren,owl\n8,0,0\n", scored=("owk", "wren"))
    (tmp_path / "test.csv").write_text("fname\nx\ny\n")
    got = sampled(tmp_path, "fname,owl,wren,crow\nanything,0,0,0\n", sample_rows="example", test_csv="test.csv")
    assert got.submission is not None
    assert got.submission.ids == ("x", "y")
    assert got.submission.columns == ("fname", "owl", "wren", "crow")
    with pytest.raises(UserError, match=r"say reader\.sample_rows=example"):
        sampled(tmp_path, "fname,owl,wren,crow\nanything,0,0,0\n", test_csv="test.csv")
    with pytest.raises(UserError, match=r"name them by reader\.test_csv or reader\.test_rows=files"):
        sampled(tmp_path, "fname,owl,wren,crow\nanything,0,0,0\n", sample_rows="example")


def test_sets_pairs_and_flags(tmp_path: Path) -> None:
    form = sampled(tmp_path, "row_id,birds\n8,nocall\n", style="set", nothing=("nobird",)).submission
    assert form is not None
    assert (form.style, form.nothing, form.ids) == ("set", "nobird", ("8",))
    (tmp_path / "test.csv").write_text("fname\ns_1_5\ns_1_10\n")
    flags = {"style": "flags", "pair": "{head}_{class}_{tail}", "scored": ("wren", "owl"), "test_csv": "test.csv"}
    sample = "row_id,target\ns_1_owl_10,False\ns_1_owl_5,False\ns_1_wren_10,False\ns_1_wren_5,False\n"
    form = sampled(tmp_path, sample, **flags).submission
    assert form is not None
    assert form.pairs == (("s_1_10", "owl"), ("s_1_5", "owl"), ("s_1_10", "wren"), ("s_1_5", "wren"))
    with pytest.raises(UserError, match="row 's_1_dodo_5' is none of the rule"):
        sampled(tmp_path, "row_id,target\ns_1_dodo_5,False\n", **flags)
    form = sampled(tmp_path, "row_id,target\ns_1_dodo_5,False\n", **flags, sample_rows="example").submission
    assert form is not None
    assert form.ids == ("s_1_wren_5", "s_1_owl_5", "s_1_wren_10", "s_1_owl_10")
    form = read(tmp_path, *TRAIN, test_csv="test.csv", style="pairs").submission
    assert form is not None
    assert form.columns == ("fname", "label")
    assert form.ids[:2] == ("s_1_5_crow", "s_1_5_owl")


def test_the_probability_of_one_class_of_several(tmp_path: Path) -> None:
    form = sampled(tmp_path, "fname,p\n8,0.5\n", style="probability", positive="owl").submission
    assert form is not None
    assert (form.positive, form.spoken(("crow", "owl", "wren"))) == ("owl", ("owl",))
    only = read(tmp_path, "fname,label", "1,call", "2,", label_form="commas", nothing=("",), sample_submission="s.csv")
    assert only.submission is not None
    assert (only.submission.style, only.submission.positive) == ("probability", "call")


def test_test_rows_are_windows_of_the_files_found_or_of_listed_ids(tmp_path: Path) -> None:
    (tmp_path / "t/night").mkdir(parents=True)
    for name in ("b.wav", "night/a.wav"):
        soundfile.write(tmp_path / "t" / name, np.zeros(11 * 8000, np.float32), 8000)
    given = {"test_rows": "files", "sample_submission": "s.csv", "sample_rows": "example", "label_form": "commas"}
    (tmp_path / "s.csv").write_text("row_id,crow,owl,wren\nx_5,0,0,0\n")
    got = read(tmp_path, *TRAIN, **given, window=5.0)
    assert got.test["clip_id"].tolist() == ["b_5", "b_10", "a_5", "a_10"]
    assert got.test["path"].tolist() == ["t/b.wav"] * 2 + ["t/night/a.wav"] * 2
    assert got.test[["start", "end"]].values.tolist() == [[0, 5], [5, 10]] * 2
    assert got.submission is not None
    assert got.submission.ids == ("b_5", "b_10", "a_5", "a_10")
    whole = read(tmp_path, *TRAIN, **given, test_suffix=".wav")
    assert whole.test["clip_id"].tolist() == ["b", "night/a"]
    assert list(whole.test.columns) == ["clip_id", "path", "group"]
    rule = {"row_pattern": r"(?P<file>.+)_(?P<end>\d+)", "window": 5.0, "test_suffix": ".ogg"}
    got = sampled(tmp_path, "row_id,crow,owl,wren\nx_1_5,0,0,0\nx_1_10,0,0,0\n", **rule)
    assert got.test["path"].tolist() == ["t/x_1.ogg"] * 2
    assert got.test[["start", "end"]].values.tolist() == [[0, 5], [5, 10]]
    with pytest.raises(UserError, match=r"row 2: reader\.row_pattern does not fit 'x'"):
        sampled(tmp_path, "row_id,crow,owl,wren\nx,0,0,0\n", **rule)
    with pytest.raises(UserError, match=r"needs \(\?P<file>"):
        sampled(tmp_path, "row_id,crow,owl,wren\nx,0,0,0\n", row_pattern=".*")


def test_test_labels_are_read_in_their_own_form(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("row_id,birds,Usage\n1,owl wren,public\n2,nocall,Private\n3,owl,Ignored\n")
    given = {"label": "birds", "clip": "row_id", "label_form": "blanks", "nothing": ("nocall",)}
    found = table.scoring_table(table.Params(**given, scoring_csv="truth.csv"), tmp_path)  # type: ignore[arg-type]
    assert isinstance(found, pd.DataFrame)
    assert found.values.tolist() == [["1", "owl,wren", "Public"], ["2", "", "Private"]]


# ---------------------------------------------------------------------------------------------------------- in one run


def recordings(root: Path) -> Path:
    """Clips with one sound, two, a weak one, none; some labels unknown; tests with truth."""
    rows, truth, sample = ["fname,label"], ["fname,label,usage"], ["fname,birds"]
    for i in range(28):
        kinds = [(0,), (1,), (0, 1), ()][i % 4]
        rng = np.random.default_rng(i)
        wave = sum((sound(CLASSES[k], 1.0, rng) for k in kinds), sound("Hiss", 1.0, rng) * np.float32(0.05))
        where = root / ("a" if i < 20 else "t") / f"{i}.wav"
        where.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(where, np.asarray(wave) * 0.4, RATE)
        cell = ",".join(CLASSES[k] for k in kinds)
        if i < 20:
            part = {2: f"{CLASSES[0]},{CLASSES[1]}:0.5", 5: f"{CLASSES[1]},?{CLASSES[0]}", 8: f"{CLASSES[0]},?*"}
            rows.append(f'{i}.wav,"{part.get(i, cell)}"')
        else:
            truth.append(f'{i}.wav,"{cell}",{"Public" if i < 24 else "Private"}')
            sample.append(f"{i}.wav,nocall")
    for name, text in (("train.csv", rows), ("truth.csv", truth), ("sample.csv", sample)):
        (root / name).write_text("\n".join(text) + "\n")
    return root


def test_clips_with_nothing_and_unknown_cells_go_through_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    root = recordings(tmp_path / "in")
    reader = {"train_audio": "a", "test_audio": "t", "label_form": "cells", "nothing": "['',nocall]", "style": "set"}
    reader |= {"sample_submission": "sample.csv", "scoring_csv": "truth.csv"}
    words = [f"root={root}", "data=table", *(f"reader.{key}={value}" for key, value in reader.items())]
    words += ["task=multilabel", "metric=row_f1", "model=clip_forest", "preset=smoke"]
    words += ["device=cpu", "jobs=1", "network.trees=10", "folds.n=2", "blend.bootstrap=50", "stack.min_clips=2"]
    words += ["blend.searches=[single,log_loss]", "stack.rounds=5", "clean.method=none", "folds.small_classes=warn"]
    run = Call.from_arguments(words)
    importlib.import_module("all").run(run)
    folds = pd.read_csv(run.folds / "r0.csv", keep_default_na=False)
    assert folds[folds["label"] == ""].groupby("fold").size().min() >= 2
    targets = Tables.of(run, made=True).targets
    assert (targets == UNKNOWN).sum() == 2
    assert (targets.max(axis=1) == 0).sum() == 5
    form = run.competition().submission
    assert form is not None
    submission.read(run.submissions / "submission.csv", form, run.competition().classes)
    board = pd.read_csv(run.oof / "leaderboard.csv").set_index("experiment")
    assert board[["cv", "public", "private"]].notna().all(axis=None)
    scores = read_json(run.oof / "scores.json")
    assert {"blend.csv", "stack.csv", "submission.csv"} <= set(scores)
    chosen = read_json(run.submissions / "choice.json")
    assert set(chosen["thresholds"]) == {CLASSES[0], CLASSES[1]}
    assert scores["submission.csv"]["public"] == pytest.approx(scores[chosen["table"]]["public"])
    assert (run.reports / "index.html").is_file()
