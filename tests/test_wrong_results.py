"""Results that would be wrong or lost without a word: each test fails without its fix."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import all as all_verb
import blend
import make_folds
import score
import stack
import submit
from conftest import SRC
from test_submission import CLASSES, TEST, TRAIN, toy, words
from tonestack.base.errors import UserError
from tonestack.base.files import load_yaml, read_json
from tonestack.cleaning import revision_files
from tonestack.competition import csvs, submission
from tonestack.competition.readers import folder, table
from tonestack.config.call import Call
from tonestack.deploy import recordings
from tonestack.ensemble import leaderboard, made
from tonestack.labels import folds, training_labels
from tonestack.tables import oof
from tonestack.tables.competition import Competition, SubmissionFormat

import numpy as np
import pandas as pd
import pytest

__all__ = ["toy"]  # a fixture


def strangers(toy: Call, seed: int = 1, name: str = "theirs") -> Path:
    """A foreign table with both parts."""
    folder = toy.oof / name
    folder.mkdir(exist_ok=True)
    rows = pd.DataFrame(np.random.default_rng(seed).dirichlet(np.ones(4), 200), columns=list(CLASSES))
    rows.insert(0, "clip_id", [*TRAIN, *TEST])
    rows.to_csv(folder / "x.csv", index=False)
    return folder


# ------------------------------------------------------------------------------------------------- made of what is gone


def test_a_made_table_goes_when_a_source_goes(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    folder = strangers(toy)
    for verb in (blend, stack, submit):
        verb.run(toy)
    assert {"blend@mixed", "stack-logistic@mixed", "mean@mixed"} <= set(made.of(toy))
    shutil.move(folder, toy.home / "away")
    for verb in (blend, stack, submit):
        verb.run(toy)
    assert "blend@mixed: removed, its source theirs is gone" in capsys.readouterr().out
    assert set(made.of(toy)) == {"blend@r0", "stack-logistic@r0", "stack-lightgbm@r0", "mean@r0"}
    assert "mixed" not in pd.read_csv(toy.submissions / "log.csv")["table"].iloc[-1]


@pytest.mark.parametrize("verb", [blend, stack, submit, score])
def test_a_made_table_goes_when_a_source_changes(toy: Call, verb: object) -> None:
    strangers(toy)
    for one in (blend, stack, submit):
        one.run(toy)
    known = made.content(toy.oof / "theirs")
    strangers(toy, seed=2)
    assert made.content(toy.oof / "theirs") != known
    verb.run(toy)  # type: ignore[attr-defined]
    assert "mean@mixed" not in made.of(toy)  # of tables that are gone: it goes with them
    assert all(not made.fault(toy.oof / name) for name in made.of(toy))
    if verb in (submit, score):
        assert not made.of(toy)


def test_a_receipt_without_sources_is_still_read(toy: Call) -> None:
    """Tables of an earlier version name their tables without fingerprints: only a missing one is noticed."""
    import json

    blend.run(toy)
    for path in (toy.oof / "blend@r0").glob("*.json"):
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sources"}))
    assert not made.fault(toy.oof / "blend@r0")
    oof.remove(toy.oof / "net1@r0")
    assert made.fault(toy.oof / "blend@r0") == "its source net1@r0 is gone"


def test_the_mean_takes_what_this_calls_blend_and_stack_wrote(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (blend, stack, submit):
        verb.run(toy)
    strangers(toy)
    for verb in (blend, stack, submit):
        verb.run(toy)
    parts = {"blend@mixed", "stack-logistic@mixed", "stack-lightgbm@mixed"}
    assert set(made.sources(toy.oof / "mean@mixed")) == parts  # none of r0, though those hold too
    assert "blend@r0" in made.of(toy)
    capsys.readouterr()
    blend.run(words(toy.home, "blend.tables=[theirs,net1@r0]"))  # another blend under the same name
    submit.run(toy)
    assert "mean: without blend@mixed, made of other tables" in capsys.readouterr().out
    assert set(made.sources(toy.oof / "mean@mixed")) == parts - {"blend@mixed"}


def test_no_blend_is_made_of_itself(toy: Call) -> None:
    for verb in (blend, stack, submit):
        verb.run(toy)
    again = words(toy.home, "blend.made=true")
    blend.run(again)
    taken = set(made.sources(toy.oof / "blend@r0"))
    assert "stack-logistic@r0" in taken
    assert not taken & {"blend@r0", "mean@r0"}
    blend.run(again)
    assert "blend@r0" in made.of(toy)


# ---------------------------------------------------------------------------------------------------- columns of a csv


def test_the_columns_of_test_labels_are_found_as_kaggle_spells_them(toy: Call, tmp_path: Path) -> None:
    truth = pd.read_csv(tmp_path / "truth.csv")
    score.run(toy)
    known = leaderboard.recorded_scores(toy)["net2@r0"]
    truth.set_axis(["FName", "Label", "Usage"], axis=1).to_csv(tmp_path / "truth.csv", index=False)
    score.run(toy)
    assert leaderboard.recorded_scores(toy)["net2@r0"] == known
    truth.set_axis(["fname", "label", "split"], axis=1).to_csv(tmp_path / "truth.csv", index=False)
    with pytest.raises(UserError, match="'split' says Private and Public; rename it to usage"):
        score.run(toy)
    truth.assign(Usage="Public").to_csv(tmp_path / "truth.csv", index=False)
    score.run(toy)  # `usage` as it is spelt comes before `Usage`
    assert leaderboard.recorded_scores(toy)["net2@r0"] == known
    truth.drop(columns="usage").assign(LABEL="x", Label="y").drop(columns="label").to_csv(
        tmp_path / "truth.csv", index=False
    )
    with pytest.raises(UserError, match="differ in case alone"):
        score.run(toy)


def test_the_columns_of_test_labels_have_the_readers_own_names(toy: Call, tmp_path: Path) -> None:
    root = tmp_path / "input"
    for path in (root / "train.csv", root / "sample_submission.csv", tmp_path / "truth.csv"):
        pd.read_csv(path).rename(columns={"fname": "id", "label": "species"}).to_csv(path, index=False)
    given = ["reader.clip=id", "reader.label=species", "reader.sample_submission=sample_submission.csv"]
    here = [f"root={root}", f"scoring={tmp_path / 'truth.csv'}", "name=toy", "preset=fast"]
    call = Call.from_arguments(["data=table", *given, *here])
    score.run(call)
    assert leaderboard.recorded_scores(call)["net2@r0"]["private"] > 0.5


def test_test_labels_are_checked_before_anything_is_made(
    toy: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "truth.csv").write_text("fname,lable\nt00.wav,Bark\n")
    monkeypatch.setattr(all_verb, "loop", lambda call: pytest.fail("went on"))
    with pytest.raises(UserError, match="needs the columns fname or clip_id and label"):
        all_verb.run(toy)
    (tmp_path / "truth.csv").write_text("fname,label\nt00.wav,Bark\nother.wav,Bark\n")
    with pytest.raises(UserError, match=r"'other.wav' \(1 such\) is no test clip"):
        all_verb.run(toy)
    (tmp_path / "truth.csv").write_text("fname,label,usage\nt00.wav,Bark,Ignored\n")
    with pytest.raises(UserError, match="nothing to score"):
        all_verb.run(toy)


def test_a_sample_submission_may_have_its_clips_last(tmp_path: Path) -> None:
    form = SubmissionFormat(("label", "fname"), ("a.wav", "b.wav"), "labels", 1, "fname")
    rows = np.array([[0.7, 0.2, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4]])
    submission.write(tmp_path / "s.csv", form, ["a.wav", "b.wav"], CLASSES, rows)
    assert (tmp_path / "s.csv").read_text() == "label,fname\nBark,a.wav\nOboe,b.wav\n"
    np.testing.assert_array_equal(submission.read(tmp_path / "s.csv", form, CLASSES).argmax(axis=1), [0, 3])
    scores = SubmissionFormat((*CLASSES, "id"), ("a.wav", "b.wav"), "scores", 1, "id")
    submission.write(tmp_path / "s.csv", scores, ["a.wav", "b.wav"], CLASSES, rows)
    np.testing.assert_allclose(submission.read(tmp_path / "s.csv", scores, CLASSES), rows)


def test_the_reader_knows_which_column_of_the_sample_has_the_clips(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("fname,label\n1.wav,Bark\n2.wav,Oboe\n")
    (tmp_path / "sample.csv").write_text("label,fname\nBark,a.wav\nBark,b.wav\n")
    found = table.read(table.Params(sample_submission="sample.csv"), tmp_path)
    assert found.submission is not None
    assert (found.submission.key, found.submission.rest) == ("fname", ("label",))
    assert found.test["clip_id"].tolist() == ["a.wav", "b.wav"]


# ------------------------------------------------------------------------------------------------ tables edited by hand


def edited(toy: Call, change: Callable[[str], str]) -> None:
    path = toy.folds / "r0.csv"
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("Bark", "Oboe", 1),
        lambda text: text.replace(",,2\n", ",,7\n", 1),
        lambda text: text[: text.rstrip("\n").rindex("\n") + 1],
        lambda text: text.replace(",1,,", ",0,,", 1),
    ],
    ids=["label", "fold", "clip gone", "verified"],
)
def test_folds_edited_by_hand_are_noticed(toy: Call, change: Callable[[str], str]) -> None:
    (toy.folds / "r0.csv").unlink()
    shutil.rmtree(toy.oof)
    make_folds.run(toy)
    edited(toy, change)
    for verb in (make_folds, blend, score, submit):
        with pytest.raises(UserError, match=r"was changed by hand since it was made; delete r0\.json"):
            verb.run(words(toy.home))
    whole = pd.read_csv(toy.folds / "r0.csv")
    if len(whole) == 160:
        (toy.folds / "r0.json").unlink()
        make_folds.run(words(toy.home))  # now it is the user's own
        assert pd.read_csv(toy.folds / "r0.csv").equals(whole)
    (toy.folds / "r0.csv").unlink()
    make_folds.run(words(toy.home))


def test_a_clip_twice_in_the_folds_is_one_line(toy: Call) -> None:
    edited(toy, lambda text: text + text.splitlines()[3] + "\n")
    with pytest.raises(UserError, match=r"r0\.csv: rows 4 and 162: clip '002\.wav' is there twice; keep one"):
        blend.run(toy)


def test_a_revision_edited_by_hand_is_noticed(toy: Call) -> None:
    rows = training_labels.given(folds.read(toy.folds))
    revision_files.write(toy.folds, "mine", rows, pd.DataFrame(), {"inputs": {}})
    assert len(training_labels.read_revision(toy.folds, "mine")) == len(rows)
    path = toy.folds / "mine.csv"
    path.write_text(path.read_text().replace("Bark", "Oboe", 1))
    with pytest.raises(UserError, match=r"mine\.csv: was changed by hand"):
        training_labels.read_revision(toy.folds, "mine")
    path.rename(toy.folds / "other.csv")
    training_labels.read_revision(toy.folds, "other")
    path = toy.folds / "other.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(UserError, match=r"is there twice for its holdout"):
        training_labels.read_revision(toy.folds, "other")


# ----------------------------------------------------------------------------------------------- numbers that are shown


def test_the_seconds_of_a_blend_count_once(toy: Call) -> None:
    for verb in (blend, stack):
        verb.run(toy)
    board = leaderboard.update(toy).set_index("experiment")["seconds"]
    for name in ("blend@r0", "stack-logistic@r0"):
        assert board[name] == read_json(toy.oof / name / "fold0.json")["seconds"]
    assert board["net0@r0"] == 6


def test_against_best_single_means_the_same_everywhere(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    def gain(printed: str, name: str) -> str:
        line = next(line for line in printed.splitlines() if name in line and "±" in line)
        return re.findall(r"[+-][.\d]+ \[.*?\]", line)[0]

    said, one = {}, words(toy.home, "blend.searches=[geometric]")
    for verb in (blend, stack, submit):
        verb.run(one)
        said[verb.__name__] = capsys.readouterr().out
    chosen = str(read_json(toy.submissions / "blend.json")["search"])
    assert gain(said["blend"], f"* {chosen}") == gain(said["submit"], "blend@r0")
    for name in ("stack-logistic@r0", "stack-lightgbm@r0"):
        assert gain(said["stack"], name) == gain(said["submit"], name)


# ----------------------------------------------------------------------------------------------- csv and yaml oddities


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        (["a.wav,Bark,1", 'b.wav,"Oboe,1', "c.wav,Bark,2", "d.wav,Oboe,2"], 3),  # up to the end
        (["a.wav,Bark,1", 'b.wav,"Oboe,1', "c.wav,Bark,2", 'd.wav,"Oboe,2'], 3),  # up to the next one
        (["a.wav,Bark,1", 'b.wav,"Oboe,1', 'c.wav,Bark",2', "d.wav,Oboe,2"], 3),
        (["a.wav,Bark,1", '"b.wav,Oboe,1', "c.wav,Bark,2", "d.wav,Oboe,2"], 3),
        (["a.wav,Bark,1", 'b.wav,Oboe,"1', "c.wav,Bark,2", "d.wav,Oboe,2"], 3),
    ],
)
def test_a_lone_quote_swallows_no_rows(tmp_path: Path, rows: list[str], row: int) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["fname,label,note", *rows]) + "\n")
    with pytest.raises(
        UserError, match=rf"x\.csv: row {row}: a quote \(\"\) opens a cell that runs on|cells where the"
    ):
        csvs.read_table(path)


def test_line_breaks_in_quoted_text_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('fname,label,note\na.wav,Bark,"two lines,\nof text, with commas"\nb.wav,5" gong,"he said ""no"""\n')
    found = csvs.read_table(path)
    assert found["fname"].tolist() == ["a.wav", "b.wav"]
    assert found["label"].tolist() == ["Bark", '5" gong']


def test_a_yaml_key_given_twice_is_refused() -> None:
    for text in ("a: 1\nb: 2\na: 3\n", "x: {lr: 1, lr: 2}", "x:\n  - lr: 1\n    lr: 2\n"):
        with pytest.raises(UserError, match=r"f\.yaml, line \d: not valid YAML: the key '(a|lr)' is given twice"):
            load_yaml(text, "f.yaml")
    assert load_yaml("base: &b {lr: 1}\nx: {<<: *b, lr: 2}\n", "f.yaml")["x"] == {"lr": 2}
    assert load_yaml("1: a\n'1': b\n", "f.yaml") == {1: "a", "1": "b"}


def test_one_label_in_two_unicode_forms_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("fname,label\n1.wav,Caf\u00e9\n2.wav,Cafe\u0301\n")
    with pytest.raises(UserError, match="is there in two Unicode forms"):
        table.read(table.Params(), tmp_path).checked()
    (tmp_path / "train.csv").write_text("fname,label\n1.wav,Cafe\u0301\n2.wav,Bar\n")
    assert table.read(table.Params(), tmp_path).checked().classes == ("Bar", "Cafe\u0301")  # in its own spelling


# -------------------------------------------------------------------------------------------------------- surroundings


def test_a_file_among_the_data_is_not_imported_by_workers(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('executed')\n")
    (tmp_path / "matplotlib.py").write_text("raise SystemExit('executed')\n")
    script = tmp_path / "elsewhere" / "verb.py"
    script.parent.mkdir()
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(SRC)!r})\n"
        "from tonestack import cli\n"
        "import joblib\n"
        "def stage(call):\n"
        "    print(joblib.Parallel(2)(joblib.delayed(abs)(-i) for i in range(4)))\n"
        "    import matplotlib.pyplot\n"
        "if __name__ == '__main__':\n"
        "    cli.main(stage, '', ['data=demo'])\n"
    )
    env = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "TONESTACK_HOME": str(tmp_path)}
    found = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "[0, 1, 2, 3]\n"), found.stderr


def test_the_set_up_ignores_pips_own_targets(tmp_path: Path) -> None:
    """A stand-in for Python shows the environment that pip and the stages get."""
    shutil.copy(SRC.parent / "run.sh", tmp_path / "run.sh")
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/all.py").touch()
    (tmp_path / "bin").mkdir()
    fake = '#!/bin/sh\nif [ "$2" = venv ]; then mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; fi\n'
    fake += 'if [ "$2" = pip ]; then echo "pip: $PIP_USER,$PIP_TARGET,$PYTHONPATH"; fi\n'
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (tmp_path / "bin" / name).write_text(fake)
        (tmp_path / "bin" / name).chmod(0o755)
    odd = {"PIP_USER": "1", "PIP_TARGET": "/x", "PYTHONPATH": ":/y", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    found = subprocess.run(["bash", "run.sh"], cwd=tmp_path, env=os.environ | odd, capture_output=True, text=True)
    assert "pip: 0,,\n" in found.stdout, found


# ----------------------------------------------------------------------------------------------- folders of recordings


def tree(root: Path, *names: str, **params: str) -> Competition:
    """A folder of empty files, read."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return folder.read(folder.Params(**params), root)  # type: ignore[arg-type]


def test_folders_of_parts_are_no_classes(tmp_path: Path) -> None:
    found = tree(tmp_path / "1", "Train/dog/1.wav", "Train/cat/2.wav", "TEST/3.wav")
    assert found.classes == ("cat", "dog")
    assert found.test["clip_id"].tolist() == ["TEST/3.wav"]
    with pytest.raises(UserError, match="differ in case alone"):
        tree(tmp_path / "2", "Train/dog/1.wav", "TRAIN/cat/2.wav")
    with pytest.raises(UserError, match="'training' is the name of a part, not of a class"):
        tree(tmp_path / "3", "training/dog/1.wav", "training/cat/2.wav", "holdout/3.wav")
    with pytest.raises(
        UserError, match=r"in 2 folders of it; if these are the classes, say reader.train_dir=train/audio"
    ):
        tree(tmp_path / "4", "train/audio/yes/1.wav", "train/audio/no/2.wav")
    assert tree(tmp_path / "4", train_dir="train/audio").classes == ("no", "yes")
    with pytest.raises(UserError, match=r"say reader.train_dir=dataset"):
        tree(tmp_path / "5", "dataset/yes/1.wav", "dataset/no/2.wav", "test/x.wav")


def test_what_a_folder_leaves_out_is_said(tmp_path: Path) -> None:
    (tmp_path / "train/owl").mkdir(parents=True)
    found = tree(tmp_path, "train/dog/1.wav", "train/cat/2.wav", "train/cat/3.m4a", "train/cat/n.txt", "test/4.wma")
    said = " ".join(found.notes)
    assert "2 files are left out for their suffix: .m4a (1), .txt (1)" in said
    assert "ffmpeg -i FILE FILE.wav" in said
    assert ".wma (1)" in said
    assert "no recording in 1 folders, so no class of: owl" in said
    assert not tree(tmp_path / "whole", "train/dog/1.wav", "train/cat/2.wav").notes
    assert [line for line in recordings.skipped([tmp_path / "train"]) if ".m4a (1)" in line]
    with pytest.raises(UserError, match=r"\.wma \(1\).*no recording in this folder"):
        recordings.find([tmp_path / "test"])


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "train/dog/1.wav", "train/cat/2.wav")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for read in (lambda: tree(tmp_path), lambda: recordings.find([tmp_path])):
        with pytest.raises(UserError, match=r"cat: the folder cannot be read \(Permission denied\)"):
            read()


# ---------------------------------------------------------------------------------------------- what a sample asks for


def sampled(root: Path, labels: str, sample: str, **params: str) -> SubmissionFormat:
    """The format that the reader takes from a sample submission."""
    root.mkdir(exist_ok=True)
    rows = [f"{i}.wav,{label}" for i, label in enumerate(labels.split())]
    (root / "train.csv").write_text("\n".join(["clip,target", *rows]) + "\n")
    (root / "sample.csv").write_text(sample)
    given = {"clip": "clip", "label": "target", "sample_submission": "sample.csv"} | params
    found = table.read(table.Params(**given), root).submission  # type: ignore[arg-type]
    assert found is not None
    return found


def test_one_column_of_probabilities_gets_probabilities(tmp_path: Path) -> None:
    for sample in ("clip,probability\na,0\nb,0\n", "clip,target\na,0.5\nb,0.5\n", "clip,p\na,1e-3\nb,0.25\n"):
        form = sampled(tmp_path, "0 1 0 1", sample)
        assert (form.style, form.positive, form.rest) == ("probability", "1", (form.columns[1],))
    rows = np.array([[0.9, 0.1], [0.3, 0.7]])
    submission.write(tmp_path / "s.csv", form, ["b", "a"], ("0", "1"), rows)
    assert pd.read_csv(tmp_path / "s.csv")["p"].tolist() == pytest.approx([0.7, 0.1])
    np.testing.assert_allclose(submission.read(tmp_path / "s.csv", form, ("0", "1")), rows[::-1])
    with pytest.raises(UserError, match=r"of which class\? .* reader\.positive= \(classes: A, B\)"):
        sampled(tmp_path, "A B A", "clip,target\na,0.5\n")
    assert sampled(tmp_path, "A B A", "clip,target\na,0.5\n", positive="B").positive == "B"
    assert sampled(tmp_path, "0 1 0", "clip,target\na,0\nb,1\n").style == "label"
    assert sampled(tmp_path, "0 1 2", "clip,target\na,0.5\n").style == "labels"  # as before: three classes
    with pytest.raises(UserError, match="no probability"):
        submission.check(pd.DataFrame({"clip": ["a", "b"], "p": [0.5, 1.5]}), form, ("0", "1"))


def test_a_metric_that_the_submission_cannot_hold_is_said(toy: Call, tmp_path: Path) -> None:
    sample = tmp_path / "input/sample_submission.csv"
    given = ["data=table", "reader.sample_submission=sample_submission.csv", f"root={tmp_path / 'input'}"]
    pd.read_csv(sample).assign(label="Bark").to_csv(sample, index=False)
    for metric, said in (
        ("map@3", "metric=map@3 counts 3 labels per row, the submission has 1"),
        ("auc", "metric=auc needs probabilities, the submission has labels"),
    ):
        assert said in " ".join(Call.from_arguments([*given, f"metric={metric}"]).competition().notes)
    assert not Call.from_arguments([*given, "metric=accuracy"]).competition().notes


@pytest.mark.parametrize("multilabel", [True, False])
@pytest.mark.parametrize("cell", ["\"['owl', 'wren']\"", '"[""owl""]"', "owl;wren", "owl|wren", "owl; wren", "{owl}"])
def test_lists_of_labels_in_another_form_are_asked_about(tmp_path: Path, cell: str, multilabel: bool) -> None:
    (tmp_path / "train.csv").write_text(f"fname,label\n1.wav,owl\n2.wav,wren\n3.wav,{cell}\n")
    with pytest.raises(UserError, match=r"train\.csv: row 4: 'label' is .* seems to be several labels"):
        table.read(table.Params(multilabel=multilabel), tmp_path)
    (tmp_path / "train.csv").write_text('fname,label\n1.wav,owl\n2.wav,bus/truck\n3.wav,"owl,bus/truck"\n')
    assert "bus/truck" in table.read(table.Params(multilabel=multilabel), tmp_path).classes
