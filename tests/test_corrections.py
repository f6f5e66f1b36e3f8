"""A person's corrections: above every automatic label, never scored on, merged with conflicts shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import corrections as verb
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.base.files import write_csv
from tonestack.base.text import inert, uninert
from tonestack.cleaning import method_revision, revision_files
from tonestack.config.call import Call
from tonestack.labels import corrections, folds, revisions, training_labels
from tonestack.labels.label_tables import LabelTables
from tonestack.settings.model_config import TrainingParams
from tonestack.tables.decisions import TRUSTED
from tonestack.tasks import classify
from tonestack.training import queue

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

TinyRun = Callable[..., Call]
AB = ("a", "b")
TABLE = pd.DataFrame(
    {"clip_id": list("uvwxyz"), "label": list("ababab"), "verified": [True, True, False, False, True, False]}
).assign(group="", fold=[0, 0, 1, 1, 2, 2])


def said(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Corrections (clip, decision, label) by nobody in particular."""
    return pd.DataFrame(rows, columns=corrections.NEEDED).assign(by="", when="")


def put(folder: Path, *rows: tuple[str, str, str], table: pd.DataFrame = TABLE) -> Path:
    """A folds folder with r0 and corrections in it."""
    folds.write(folder, table, {})
    corrections.write(folder, said(*rows))
    return folder


def learnt(folder: Path, revision: str, holdout: int, **params: object) -> dict[str, tuple[str, float]]:
    """By clip, the label and the weight that a holdout trains with."""
    rows = LabelTables(folder).revision(revision)
    made = training_labels.for_holdout(rows, holdout, AB, classify.TASK.targets, TrainingParams.model_validate(params))
    names = [AB[i] for i in made.targets.argmax(axis=1)]
    return dict(zip(made.clip_ids, zip(names, made.weights.tolist(), strict=True), strict=True))


# -------------------------------------------------------------------------------------------------- what is trained on


def test_given_labels_are_corrected_for_every_holdout_but_the_clips_own(tmp_path: Path) -> None:
    folder = put(tmp_path, ("w", "relabel", "b"), ("x", "drop", ""), ("z", "keep", ""))
    assert learnt(folder, "r0", 0) == {"w": ("b", 1.0), "y": ("a", 1.0), "z": ("b", 1.0)}
    assert learnt(folder, "r0", 1) == {"u": ("a", 1.0), "v": ("b", 1.0), "y": ("a", 1.0), "z": ("b", 1.0)}
    assert learnt(folder, "r0", 2) == {"u": ("a", 1.0), "v": ("b", 1.0), "w": ("b", 1.0)}


def test_a_correction_stands_above_what_a_method_has_decided(tmp_path: Path) -> None:
    folder = put(tmp_path, ("w", "relabel", "b"), ("x", "keep", "b"), ("u", "drop", ""))
    rows = [("w", 1, "a", 0.2, "relabelled"), ("w", 0, "a", 1.0, "promoted"), ("u", 1, "a", 1.0, "verified")]
    write_csv(folder / "spread.csv", pd.DataFrame(rows, columns=revisions.COLUMNS))
    made = LabelTables(folder).revision("spread")
    assert set(made.itertuples(index=False, name=None)) == {
        ("w", 0, "b", 1.0, "corrected"),
        ("w", 2, "b", 1.0, "corrected"),
        ("x", 0, "b", 1.0, "corrected"),  # the method had left it out
        ("x", 2, "b", 1.0, "corrected"),
    }


def test_soft_labels_are_corrected_to_0_and_1(tmp_path: Path) -> None:
    folder = put(tmp_path, ("w", "relabel", "b"))
    rows = pd.DataFrame([("w", 0, "a", 1.0, "given", 0.7, 0.3), ("y", 0, "a", 1.0, "given", 0.75, 0.25)])
    write_csv(folder / "soft.csv", rows.set_axis([*revisions.COLUMNS, *AB], axis=1))
    made = training_labels.for_holdout(
        LabelTables(folder).revision("soft"), 0, AB, classify.TASK.targets, TrainingParams()
    )
    assert dict(zip(made.clip_ids, made.targets.tolist(), strict=True)) == {"y": [0.75, 0.25], "w": [0.0, 1.0]}


def test_corrected_labels_count_as_verified(tmp_path: Path) -> None:
    folder = put(tmp_path, ("w", "relabel", "b"), ("y", "drop", ""))
    assert set(learnt(folder, "r0", 0, verified_only=True)) == {"w"}
    assert "corrected" in TRUSTED
    table = corrections.on_table(folds.read(folder), LabelTables(folder).corrections).set_index("clip_id")
    assert table.loc["w", ["label", "verified"]].tolist() == ["b", True]
    assert not table.loc["y", "verified"]
    assert table.drop(["w", "y"]).equals(folds.read(folder).set_index("clip_id").drop(["w", "y"]))


def test_without_corrections_nothing_changes(tmp_path: Path) -> None:
    folds.write(tmp_path, TABLE, {})
    before = LabelTables(tmp_path).revision("r0")
    corrections.write(tmp_path, said())
    assert LabelTables(tmp_path).revision("r0").equals(before)


def test_changed_corrections_make_stale_what_has_learnt_from_the_clip_and_leave_scores_alone(tiny_run: TinyRun) -> None:
    run = tiny_run()
    before = queue.build(run, run.experiments())
    table = folds.read(run.folds)
    clip = table[~table["verified"] & (table["fold"] == 0)].iloc[0]
    other = next(name for name in run.competition().classes if name != clip["label"])
    corrections.write(run.folds, said((clip["clip_id"], "relabel", other)))
    after = queue.build(run, run.experiments())
    assert [a.inputs == b.inputs for a, b in zip(after, before, strict=True)] == [True, False]
    assert all((a.truth == b.truth).all() and (a.scored == b.scored).all() for a, b in zip(after, before, strict=True))


def test_cleaning_sees_the_corrected_labels_as_verified(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run("clean.method=agree", "clean.pictures=false").plain()
    table = folds.read(run.folds)
    clip = table[~table["verified"]].iloc[0]["clip_id"]
    corrections.write(run.folds, said((clip, "relabel", "Hiss")))
    judged = pd.get_dummies(table["label"])[list(run.competition().classes)].to_numpy(float) * 0.9 + 0.025
    monkeypatch.setattr(method_revision.pair_models, "predictions", lambda *_: judged[None].repeat(2, axis=0))
    method_revision.make(run, "agree")
    decided = revision_files.read_decisions(run.folds, "agree").set_index("clip_id").loc[clip]  # type: ignore[union-attr]
    assert decided[["given_label", "proposed_label", "decision", "verified"]].tolist() == ["Hiss", "Hiss", "keep", 1]


# ------------------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("none", "drop", ""), r"row 2: 'none' is no training clip"),
        (("u", "remove", ""), r"row 2 \('u'\): decision 'remove'; there is: drop, keep, relabel"),
        (("u", "relabel", "c"), r"row 2 \('u'\): unknown label 'c'"),
        (("u", "relabel", ""), r"row 2 \('u'\): unknown label ''"),
        (("u", "keep", "b"), r"row 2 \('u'\): keeps 'b', but the given label is 'a'"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, row: tuple[str, str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _ = LabelTables(put(tmp_path, row)).corrections


def test_a_clip_with_two_rows_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="clip 'u' has two rows"):
        _ = LabelTables(put(tmp_path, ("u", "keep", ""), ("u", "drop", ""))).corrections
    (tmp_path / corrections.FILE).write_text("clip_id,label\nu,a\n")
    with pytest.raises(UserError, match="column 'decision' is missing"):
        _ = LabelTables(tmp_path).corrections


def test_names_that_a_spreadsheet_would_run_survive_and_stay_inert(tmp_path: Path) -> None:
    names = ["=cmd()", "-1", "'=x", "'plain"]
    table = TABLE.head(4).assign(clip_id=names, label=["=1+1", "a", "a", "=1+1"])
    folder = put(tmp_path, *((name, "relabel", "=1+1") for name in names), table=table)
    cells = (folder / corrections.FILE).read_text().replace("\n", ",").split(",")
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and cell]
    found = LabelTables(folder).corrections
    assert found.set_index("clip_id")["label"].to_dict() == dict.fromkeys(names, "=1+1")
    corrections.write(folder, found)  # what was taken off is put on again once
    assert LabelTables(folder).corrections.sort_values("clip_id").equals(found.sort_values("clip_id"))


@given(st.text())
def test_guarding_a_cell_is_undone_exactly(text: str) -> None:
    assert uninert(inert(text)) == text
    assert not inert(text).startswith(("=", "+", "-", "@", "\t", "\r"))


# -------------------------------------------------------------------------------------------------------------- merging


def merge(run: Call, theirs: pd.DataFrame, path: Path, prefer: Literal["mine", "theirs"] | None = None) -> pd.DataFrame:
    """Merge a second person's file as the verb does."""
    write_csv(path, theirs)
    return verb.run(run, verb.CorrectionsWords(merge=str(path), prefer=prefer)).set_index("clip_id")


def test_a_second_persons_file_is_merged(tiny_run: TinyRun, tmp_path: Path) -> None:
    run = tiny_run()
    corrections.write(run.folds, said(("train000.wav", "drop", ""), ("train001.wav", "keep", "")))
    theirs = said(("train001.wav", "keep", "Drum"), ("train003.wav", "relabel", "Bell"))
    joined = merge(run, theirs, tmp_path / "theirs.csv")
    assert joined["decision"].to_dict() == {"train000.wav": "drop", "train001.wav": "keep", "train003.wav": "relabel"}
    assert run.labels.corrections["clip_id"].tolist() == ["train000.wav", "train001.wav", "train003.wav"]


def test_conflicts_are_shown_clip_by_clip_and_refused_until_somebody_is_preferred(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny_run()
    corrections.write(run.folds, said(("train000.wav", "drop", "")).assign(by="Ann"))
    before = (run.folds / corrections.FILE).read_bytes()
    theirs = said(("train000.wav", "relabel", "Hiss"), ("train002.wav", "drop", "")).assign(by="Bo")
    with pytest.raises(UserError, match="differs from yours on 1 clips, listed above; give prefer=mine or prefer=the"):
        merge(run, theirs, tmp_path / "theirs.csv")
    assert capsys.readouterr().out.splitlines()[1].split("  ")[-2:] == ["drop (Ann)", "relabel Hiss (Bo)"]
    assert (run.folds / corrections.FILE).read_bytes() == before
    mine = merge(run, theirs, tmp_path / "theirs.csv", prefer="mine")
    assert mine["decision"].to_dict() == {"train000.wav": "drop", "train002.wav": "drop"}
    corrections.write(run.folds, said(("train000.wav", "drop", "")))
    other = merge(run, theirs, tmp_path / "theirs.csv", prefer="theirs")
    assert other["label"].to_dict() == {"train000.wav": "Hiss", "train002.wav": ""}


def test_the_verbs_mistakes_are_status_2(tiny_words: list[str], tiny_home: Path) -> None:
    for words in (["merge=nowhere.csv"], ["prefer=both"]):
        with pytest.raises(SystemExit) as end:
            cli.main(verb.run, verb.__doc__, [*tiny_words, *words], verb.CorrectionsWords)
        assert end.value.code == 2
