"""Wrong or lost results that nobody would have noticed, found by attacks: each test fails without its fix."""

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import blend
import corrections as corrections_verb
import make_folds
import score
import stack
from test_submission import CLASSES, TEST, TRAIN, toy, words
from tonestack.base.errors import UserError
from tonestack.base.files import load_yaml
from tonestack.competition import csvs
from tonestack.competition.readers import table
from tonestack.config.call import Call
from tonestack.features import missing
from tonestack.labels import corrections, folds, training_labels
from tonestack.labels.label_tables import LabelTables
from tonestack.settings import words as typed
from tonestack.settings.model_config import TrainingParams
from tonestack.tables import oof
from tonestack.tasks import classify, multilabel
from tonestack.training import queue

import numpy as np
import pandas as pd
import pytest

__all__ = ["toy"]  # a fixture


def given(toy: Call, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """A folds table of the user's own."""
    path = toy.folds / "r0.csv"
    change(pd.read_csv(path, keep_default_na=False)).to_csv(path, index=False)


def train_csv(root: Path, *labels: str, names: list[str] | None = None) -> Path:
    """A train.csv of these labels."""
    names = names or [f"{i}.wav" for i in range(len(labels))]
    pd.DataFrame({"fname": names, "label": labels}).to_csv(root / "train.csv", index=False)
    return root


# -------------------------------------------------------------------------------------------------------- csv files


@pytest.mark.parametrize("other", ["Hi\u00a0hat", "Hi  hat", "Hi hat\u200b", "Hi\u00ad hat"])
def test_classes_that_look_the_same_are_refused(tmp_path: Path, other: str) -> None:
    with pytest.raises(UserError, match=r"classes '.+' and '.+' look the same: they differ in blanks or in signs"):
        table.read(table.Params(), train_csv(tmp_path, "Hi hat", other, "Gong")).checked()


@pytest.mark.parametrize(
    ("one", "other"),
    [("Bell", "bell"), ("Hi_hat", "hi hat"), ("Bell", "\uff22ell"), ("1", "1.0"), ("7", "007"), ("a-b", "a_b")],
)
def test_classes_that_mean_the_same_are_noted(tmp_path: Path, one: str, other: str) -> None:
    notes = table.read(table.Params(), train_csv(tmp_path, one, other, "C#", "C")).checked().notes
    assert [note for note in notes if f"'{one}'" in note and f"'{other}'" in note and "count as different" in note]
    apart = table.read(table.Params(), train_csv(tmp_path, "C", "C#", "-1", "1", "10", "1139490", "1139491"))
    assert apart.checked().notes == ()


@pytest.mark.parametrize(("one", "other"), [("Bark", "B\u0430rk"), ("OX", "\u039f\u03a7"), ("owl", "\u041ewl")])
def test_classes_in_letters_of_several_alphabets_are_noted(tmp_path: Path, one: str, other: str) -> None:
    (note,) = table.read(table.Params(), train_csv(tmp_path, one, other, "Gong")).checked().notes
    assert f"'{one}'" in note
    assert f"'{other}'" in note
    assert "count as different" in note
    if one != "owl":  # which differs in case, too
        assert f"(in letters of several alphabets: '{one}' and {other!a})" in note
    apart = table.read(table.Params(), train_csv(tmp_path, "\u0441\u043e\u0432\u0430", "\u043a\u043e\u0442", "cat"))
    assert apart.checked().notes == ()


@pytest.mark.parametrize("name", ["[z]", "{a}", "(b)", "['a', 'b']"])
def test_a_class_that_looks_like_a_list_may_be_said_to_be_one(tmp_path: Path, name: str) -> None:
    train_csv(tmp_path, name, "Gong")
    with pytest.raises(
        UserError, match=r"seems to be several labels.*; if it is one class's name, say reader\.label_form=one"
    ):
        table.read(table.Params(), tmp_path)
    for given_words in ({"label_form": "one"}, {"classes": [name, "Gong"]}):
        found = table.read(table.Params.parse(given_words, "reader"), tmp_path).checked()
        assert found.classes == tuple(sorted([name, "Gong"]))
    if "," not in name:
        with pytest.raises(UserError, match=r"if it is one class's name, list it in reader\.classes"):
            table.read(table.Params.parse({"multilabel": True}, "reader"), tmp_path)
        known = table.Params.parse({"multilabel": True, "classes": [name, "Gong"]}, "reader")
        assert table.read(known, tmp_path).checked(several=True).train["label"].tolist() == [name, "Gong"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("[[z],b]", r"'classes\.0' is text, not \['z'\]; put it in quotes: '\[z\]'"), ("[1,b]", "put it in quotes: '1'")],
)
def test_class_names_that_yaml_reads_otherwise_are_named(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        table.Params.parse(typed.parse([f"reader.classes={text}"]).overrides["reader"], "reader")
    right = typed.parse(["reader.classes=['[z]','1']"]).overrides["reader"]
    assert table.Params.parse(right, "reader").classes == ("[z]", "1")


def test_clips_without_a_row_in_the_test_labels_are_noted(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    path = toy.home / "truth.csv"
    lines = path.read_text().splitlines()
    score.check(toy)
    assert capsys.readouterr().out == ""
    path.write_text("\n".join([*lines[:1], *lines[3:]]) + "\n")
    score.check(toy)
    lost = lines[1].split(",")[0]
    assert capsys.readouterr().out == (
        f"note: {path}: has no row for 2 of 40 clips of the submission, first '{lost}'; they are not scored\n"
    )
    path.write_text("\n".join([*lines[:3], lines[3].replace("Public", "Ignored"), *lines[4:]]) + "\n")
    score.check(toy)
    assert capsys.readouterr().out == ""


def test_a_class_that_is_named_twice_is_refused(toy: Call) -> None:
    with pytest.raises(UserError, match=r"class 'Bark' is named twice \(reader\.classes\); name it once"):
        replace(toy.competition(), classes=("Bark", "Bark", "Flute")).checked()


def test_a_star_is_a_label_where_a_clip_has_one(tmp_path: Path) -> None:
    assert table.read(table.Params(), train_csv(tmp_path, "*", "Bark")).checked().classes == ("*", "Bark")


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    found = table.read(table.Params(), train_csv(tmp_path, "Bark", "Bark"))
    with pytest.raises(UserError, match="every clip is of the one class 'Bark', so there is nothing to tell apart"):
        found.checked()
    assert found.checked(several=True).classes == ("Bark",)  # there or not


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_header_in_the_middle_is_no_clip(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(f"fname,label\na.wav,Bark\n{mark}fname,label\nb.wav,Gong\n")
    with pytest.raises(UserError, match=r"train\.csv: row 3 is the header once more"):
        csvs.read_table(path)


def test_two_names_of_one_file_are_one_clip(tmp_path: Path) -> None:
    for other in ("./a.wav", ".//a.wav"):
        train_csv(tmp_path, "Bark", "Gong", names=["a.wav", other])
        with pytest.raises(UserError, match=r"rows 2 and 3: '\.//?a\.wav' is there twice"):
            table.read(table.Params(), tmp_path)
    train_csv(tmp_path, "Bark", "Gong", names=["./a.wav", "./b.wav"])
    assert table.read(table.Params(), tmp_path).train["clip_id"].tolist() == ["./a.wav", "./b.wav"]  # as they stand
    with pytest.raises(UserError, match="is a train clip too"):
        csvs.check_apart(["x/a.wav"], ["x//a.wav"], tmp_path)


def test_a_name_in_another_unicode_form_is_said(tmp_path: Path) -> None:
    (tmp_path / "cafe\u0301.wav").touch()
    assert "it is there in another Unicode form" in missing.why(tmp_path, "caf\u00e9.wav")


def test_test_labels_of_other_clips_are_named(toy: Call) -> None:
    path = toy.home / "truth.csv"
    path.write_text(path.read_text() + "zzz.wav,Bark,Public\n")
    with pytest.raises(UserError, match=r"truth\.csv: clip 'zzz\.wav' \(1 such\) is no test clip; remove the rows"):
        score.run(toy)


# ------------------------------------------------------------------------------------------------------------- YAML


@pytest.mark.parametrize("text", ["010", "-007", "1:30", "1:30.5", "[01, 1]"])
def test_numbers_that_yaml_reads_otherwise_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is no plain number; .*quotes"):
        load_yaml(f"a: {text}", "f.yaml")


def test_plain_numbers_are_read() -> None:
    text = "[0, 10, -7, 0x10, 1_000, 0.5, .5, 1e-3, '010', 0.0, 08]"
    assert load_yaml(text, "f.yaml") == [0, 10, -7, 16, 1000, 0.5, 0.5, "1e-3", "010", 0.0, "08"]


@pytest.mark.parametrize("word", ["training.epochs=on", "training.lr=true", "folds.n=yes"])
def test_a_flag_is_no_number(toy: Call, word: str) -> None:
    with pytest.raises(UserError, match=r"a number is expected \(given: True\)"):
        words(toy.home, word).experiments()


def test_a_flag_is_no_number_among_words(toy: Call) -> None:
    for value in (0.5, "mask"):
        assert table.Params.parse({"secondary": value}, "x").secondary == value
    with pytest.raises(UserError, match="a number is expected"):
        table.Params.parse({"secondary": True}, "x")


@pytest.mark.parametrize("key", ["name", "cache", "variant", "revision"])
def test_a_name_that_is_too_long_for_a_folder(key: str) -> None:
    with pytest.raises(UserError, match="101 letters are too many for a folder"):
        typed.parse([f"{key}={'x' * 101}"])


# ------------------------------------------------------------------------------------------- folds and revisions given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(fold=-1), "every clip has the fold -1, so none can be held out"),
        (lambda t: t.assign(fold=0), "every clip has the fold 0, so none can be held out"),
        (lambda t: t.assign(fold=t["fold"] > 0), "column 'fold' holds more than whole numbers"),
        (lambda t: t.assign(fold=t["fold"].replace(1, -7)), r"row 3: 'fold' is -7, not a fold, or -1"),
        (lambda t: t.assign(verified=2), "row 2: 'verified' is 2, not 0 or 1"),
        (lambda t: t.assign(verified=0), "no clip is verified, and scores count verified clips alone"),
        (lambda t: t.assign(label=t["label"].mask(t.index == 5, "Kazoo")), "row 7: label 'Kazoo' is not among"),
        (lambda t: t.assign(label=t["label"].mask(t.index == 5, "")), "row 7: label '' is not among"),
    ],
)
def test_folds_given_are_checked(toy: Call, change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    given(toy, change)
    with pytest.raises(UserError, match=rf"r0\.csv: {message}"):
        make_folds.run(toy)


def test_other_labels_in_given_folds_are_said(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    make_folds.run(toy)
    assert "other labels" not in capsys.readouterr().out
    given(toy, lambda t: t.assign(label=t["label"].mask(t.index == 5, "Bark" if t["label"][5] != "Bark" else "Flute")))
    make_folds.run(words(toy.home))
    assert "note: r0.csv has other labels than the competition for 1 clips, first '005.wav'" in capsys.readouterr().out


def test_one_recording_with_two_labels_is_said() -> None:
    clips = pd.DataFrame({"clip_id": list("abcd"), "label": ["Bark", "Gong", "Bark", "Gong"]})
    with pytest.warns(UserWarning, match=r"1 recordings are there with two labels, first a \('Bark'\) = b \('Gong'\)"):
        folds.warn_of_two_labels(clips, pd.Series(["x", "x", "", ""]), "here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds.warn_of_two_labels(clips, pd.Series(["x", "y", "x", "y"]), "here")
        folds.warn_of_two_labels(clips, None, "here")


def revision(toy: Call, **columns: object) -> pd.DataFrame:
    """A revision of the user's own, with other values in its fourth row: row 5 of the file."""
    rows = training_labels.given(folds.read(toy.folds)).assign(source="mine")[["clip_id", "holdout", "label", "weight"]]
    rows = rows.assign(source="mine").astype(object)
    for name, value in columns.items():
        if name not in rows:
            rows[name] = 0.5
        rows.loc[3, name] = value
    rows.to_csv(toy.folds / "mine.csv", index=False)
    return rows


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        *(("weight", value, "a number from 0 on") for value in ("", "one", -1, np.inf)),
        *(("holdout", value, "the number of a fold") for value in ("x", 0.5)),
        *(("Bark", value, "a share from 0 to 1") for value in (5, -0.1)),
    ],
)
def test_rows_of_a_revision_are_checked(toy: Call, name: str, value: object, wanted: str) -> None:
    revision(toy, **{name: value})
    with pytest.raises(UserError, match=rf"mine\.csv: row 5: '{name}' is '.*', not {wanted}; fix the row"):
        training_labels.read_revision(toy.folds, "mine")


def test_a_quote_swallows_no_rows_of_a_revision(toy: Call) -> None:
    revision(toy)
    path = toy.folds / "mine.csv"
    lines = path.read_text().splitlines()
    lines[3:5] = [line.replace("mine", '"mine') for line in lines[3:5]]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"mine\.csv: row 4: a quote \(\"\) opens 'source', which runs on"):
        training_labels.read_revision(toy.folds, "mine")


def test_a_revision_has_all_classes_or_none(toy: Call) -> None:
    revision(toy, Bark=1)
    rows = LabelTables(toy.folds).revision("mine")
    with pytest.raises(UserError, match=r"has class columns, but none of class 'Flute'; add it"):
        training_labels.for_holdout(rows, 0, CLASSES, classify.TASK.targets, TrainingParams())
    with pytest.raises(UserError, match=r"holdout 9: no clip is left to train on .* holdouts 0, 1, 2"):
        training_labels.for_holdout(rows, 9, CLASSES, classify.TASK.targets, TrainingParams())


def test_a_revision_of_strange_clips_or_blank_shares_is_refused(toy: Call) -> None:
    learnt = training_labels.Labels(["000.wav", "zzz.wav"], np.eye(2, 4, dtype=np.float32), np.ones(2, np.float32))
    with pytest.raises(UserError, match=r"label revision 'mine': 'zzz\.wav' is no clip of this competition"):
        queue.refuse_unfit("mine", learnt, classify.TASK, toy.competition())
    blank = np.array([[1, 0, 0, 0], [1, np.nan, 0, 0]], dtype=np.float32)
    learnt = training_labels.Labels(["000.wav", "001.wav"], blank, np.ones(2, np.float32))
    with pytest.raises(UserError, match=r"clip '001\.wav' has a blank class column"):
        queue.refuse_unfit("mine", learnt, classify.TASK, toy.competition())
    queue.refuse_unfit("mine", learnt, multilabel.TASK, toy.competition())


# ------------------------------------------------------------------------------------------------------- corrections


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'clip_id,decision,label,by\n000.wav,drop,,"Bob\n001.wav,drop,,"Al\n002.wav,drop,,me\n',
            r"row 2: a quote \(\"\) opens",
        ),
        ("clip_id,decision,label\n000.wav,drop,,\n", "cannot be read as csv"),
        ("clip_id,decision,label,label\n000.wav,relabel,Bark,Flute\n", "the column 'label' is there twice"),
        ("", "cannot be read as csv"),
    ],
)
def test_corrections_are_whole_rows(toy: Call, text: str, message: str) -> None:
    (toy.folds / corrections.FILE).write_text(text)
    with pytest.raises(UserError, match=rf"corrections\.csv: {message}"):
        corrections_verb.run(toy, corrections_verb.CorrectionsWords())


def test_plain_corrections_are_read(toy: Call) -> None:
    path = toy.folds / corrections.FILE
    path.write_text("\ufeffclip_id,decision,label,by,when\n000.wav,drop\n\n001.wav,relabel,Bark,me,now\n")
    found = corrections.read(toy.folds, folds.read(toy.folds))
    assert found["decision"].tolist() == ["drop", "relabel"]
    assert found["label"].tolist() == ["", "Bark"]


# ------------------------------------------------------------------------------------------------------------- tables


def strangers(toy: Call, name: str, **cells: object) -> Path:
    """A foreign table; cells: other values of its third row's classes."""
    folder = toy.oof / name
    folder.mkdir()
    rows = pd.DataFrame(np.random.default_rng(1).dirichlet(np.ones(4), 200), columns=list(CLASSES)).astype(object)
    for column, value in cells.items():
        rows.loc[2, column] = value
    rows.insert(0, "clip_id", [*TRAIN, *TEST])
    rows.to_csv(folder / "x.csv", index=False)
    return folder


@pytest.mark.parametrize(("verb", "name"), [(blend, "blend@r0"), (stack, "stack-logistic@r0"), (blend, "blend@mixed")])
def test_a_table_from_elsewhere_is_never_written_over(toy: Call, verb: object, name: str) -> None:
    folder = strangers(toy, name)
    before = (folder / "x.csv").read_bytes()
    if name.endswith("@mixed"):
        strangers(toy, "theirs")
    with pytest.raises(UserError, match=rf"{name}: holds a table made elsewhere, and its name is one of ours"):
        verb.run(toy)  # type: ignore[attr-defined]
    assert (folder / "x.csv").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["x.csv"]


def test_values_are_numbers_of_a_size_that_can_be_summed(toy: Call) -> None:
    for number, (value, message) in enumerate(
        (("n/a", "'Bark' is 'n/a', not a number; fix the row"), (3e37, r"has a value beyond 1e\+30"))
    ):
        strangers(toy, f"theirs{number}", Bark=value)
        with pytest.raises(UserError, match=rf"clip '002\.wav'.*{message}"):
            blend.run(words(toy.home, f"blend.tables=[theirs{number}]"))


def test_cells_parted_by_semicolons_are_named(toy: Call) -> None:
    path = strangers(toy, "theirs") / "x.csv"
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(UserError, match=r"no column clip_id .* parted by ';': save it with commas"):
        blend.run(toy)


def test_folders_in_which_no_table_is_read_are_said(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    (toy.oof / "theirs").mkdir()
    assert oof.unread(toy.oof) == []
    (toy.oof / "theirs" / "table.npz").touch()
    blend.run(toy)
    shown = capsys.readouterr().out
    assert re.search(r"note: \S+theirs: no prediction table is read here \(table\.npz\); give parquet or csv", shown)
