"""Per-group models, their gate, and the document's tables rerun; training is replaced by made-up tables."""

import re
from pathlib import Path
from typing import Any

import study
from tonestack.base.errors import UserError
from tonestack.cleaning import revision_files
from tonestack.config.call import Call
from tonestack.ensemble import gate
from tonestack.labels import training_labels
from tonestack.labels.label_tables import LabelTables
from tonestack.settings.model_config import TrainingParams
from tonestack.studies import published
from tonestack.tables import oof
from tonestack.tasks import classify
from tonestack.training import queue
from tonestack.training.job import FoldJob, config_fingerprint

import numpy as np
import pandas as pd
import pytest

CLASSES = ("Bark", "Bell", "Flute", "Knock")
GROUPS = {"music": ["Bell", "Flute"], "non-music": ["Bark", "Knock"]}


def test_join_by_hand() -> None:
    by_gate = np.array([[0.1, 0.5, 0.3, 0.1]])  # music 0.8
    music = np.array([[0.5, 0.1, 0.3, 0.1]])  # within music: 1/4, 3/4
    other = np.array([[0.0, 0.9, 0.1, 0.0]])  # says nothing within its group: even
    joined = gate.join(by_gate, {"music": music, "non-music": other}, GROUPS, CLASSES)
    np.testing.assert_allclose(joined, [[0.1, 0.2, 0.6, 0.1]], atol=1e-6)
    tables = {"music": np.stack([music] * 3), "non-music": np.stack([other] * 3)}
    deep = gate.join(np.stack([by_gate] * 3), tables, GROUPS, CLASSES)
    np.testing.assert_allclose(deep, np.stack([joined] * 3))


def test_right_groups_and_right_members_make_it_right() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=500)
    sure = np.eye(4)[y] * 0.9 + 0.025
    joined = gate.join(sure, {"music": sure, "non-music": sure}, GROUPS, CLASSES)
    assert (joined.argmax(axis=1) == y).all()
    np.testing.assert_allclose(joined.sum(axis=1), 1)


def test_groupings_are_checked() -> None:
    assert gate.checked({"two": GROUPS}, "two", CLASSES) == GROUPS
    with pytest.raises(UserError, match="did you mean 'two'"):
        gate.checked({"two": GROUPS}, "twos", CLASSES)
    assert gate.checked({"two": GROUPS | {"a": ["Oboe"]}}, "two", CLASSES) == GROUPS  # a class that is not here
    for groups in ({"a": ["Bark", "Bell"]}, {"a": [*CLASSES, "Bark"]}):
        with pytest.raises(UserError, match="in two groups or in none"):
            gate.checked({"two": groups}, "two", CLASSES)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """FSDKaggle2018's layout with four classes and no audio; training writes tables drawn from the labels."""
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    root = tmp_path / "input"
    root.mkdir()
    y = np.arange(160) % 4
    train, test = [f"{i:03d}.wav" for i in range(120)], [f"t{i:02d}.wav" for i in range(40)]
    names = np.array(CLASSES)
    table = pd.DataFrame({"fname": train, "label": names[y[:120]], "manually_verified": np.arange(120) // 4 % 2})
    table.to_csv(root / "train.csv", index=False)
    pd.DataFrame({"fname": test, "label": "Bark Bell Flute"}).to_csv(root / "sample_submission.csv", index=False)
    truth = pd.DataFrame({"fname": test, "label": names[y[120:]], "usage": ["Public", "Private"] * 20})
    truth.to_csv(root / "test_post_competition.csv", index=False)
    right = dict(zip(train + test, y, strict=True))

    def pretend(run: Call, todo: list[FoldJob]) -> None:
        for job in todo:
            ids = job.held_out + job.test
            logits = rng.normal(size=(len(ids), 4)) + 2 * np.eye(4)[[right[i] for i in ids]]
            values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            part = ["oof"] * len(job.held_out) + ["test"] * len(job.test)
            receipt = {"inputs": job.inputs, "config_fingerprint": config_fingerprint(job.experiment)}
            oof.write_fold(job.folder, job.fold, ids, part, values, job.classes, receipt)
            (job.folder / f"fold{job.fold}.safetensors").touch()

    class NoStore:
        fingerprint = "none"

    monkeypatch.setattr(queue, "run_all", pretend)
    monkeypatch.setattr(queue.Store, "open", lambda *_: NoStore())

    def decide(run: Call, name: str) -> list[str]:
        """Keep every label, under the name that the step gives."""
        rows = run.labels.revision(run.words.revision or "r0")
        revision_files.write(run.folds, name, rows.assign(weight=1.0), pd.DataFrame(), {"parent": "r0"})
        return [name]

    monkeypatch.setattr("prepare.run", lambda *_: None)
    monkeypatch.setattr("clean_labels.make", lambda run: decide(run, run.data.clean.name or ""))
    monkeypatch.setattr("pseudo_label.make", lambda run, _: decide(run, f"{run.data.pseudo.name}2"))
    return run_of(tmp_path)


def run_of(home: Path, *more: str) -> Call:
    groups = f"groups.2={GROUPS}".replace("'", "")
    words = ["data=fsdkaggle2018", f"root={home / 'input'}", "preset=fast", groups, "folds.n=3"]
    return Call.from_arguments([*words, "name=seed_tables", *more])


def test_the_documents_tables(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    study.run(toy)
    text = (toy.home / "reports/fsdkaggle2018/study-seed_tables.md").read_text()
    assert "| raw waveform in a 1D CNN | 0.669 | 0." in text
    assert "not run" not in text
    assert re.search(r"\| geometric mean \| 0.911 \| [01]\.", text)
    assert text.count("0.675") == 2
    folder = toy.home / "oof" / "fsdkaggle2018-seed_tables"
    assert oof.kind_of(folder / "gate-small_groups@r0") == "gate"
    assert "13 experiments, 39 folds" in capsys.readouterr().out
    study.run(toy)
    assert "13 experiments, 0 folds" in capsys.readouterr().out


def test_rows_whose_labels_cannot_be_made_say_so(toy: Call) -> None:
    table = pd.read_csv(toy.root / "train.csv")
    table.assign(manually_verified=1).to_csv(toy.root / "train.csv", index=False)
    study.run(toy)
    text = (toy.home / "reports/fsdkaggle2018/study-seed_tables.md").read_text()
    assert text.count("not run: needs the label revision 'spread'") == 1
    assert text.count("not run: needs the label revision 'spread_pseudo2'") == 1


def test_group_revisions_hold_their_group_alone(toy: Call) -> None:
    study.run(toy)
    folder = toy.home / "folds" / "fsdkaggle2018"
    task, params = classify.TASK, TrainingParams()
    folds = pd.read_csv(folder / "r0.csv").set_index("clip_id")
    for group, members in GROUPS.items():
        learnt = training_labels.for_holdout(
            LabelTables(folder).revision(f"2-{group}"), 1, CLASSES, task.targets, params
        )
        assert set(folds.loc[learnt.clip_ids, "label"]) == set(members)
        assert (folds.loc[learnt.clip_ids, "fold"] != 1).all()
    even = training_labels.for_holdout(LabelTables(folder).revision("2-gate"), 1, CLASSES, task.targets, params)
    assert set(map(tuple, even.targets.tolist())) == {(0.5, 0.0, 0.0, 0.5), (0.0, 0.5, 0.5, 0.0)}
    assert set(even.clip_ids) == set(folds.index[folds["fold"] != 1])


def test_group_revisions_are_made_again_where_groups_or_labels_have_changed(tmp_path: Path) -> None:
    def write(labels: list[str], groups: gate.Groups) -> list[str]:
        table = pd.DataFrame({"clip_id": list("abcd"), "label": labels, "verified": True, "group": ""})
        table.assign(fold=[0, 0, 1, 1]).to_csv(tmp_path / "r0.csv", index=False)
        gate.write_revisions(LabelTables(tmp_path), "2", groups, CLASSES)
        return pd.read_csv(tmp_path / "2-one.csv")["clip_id"].tolist()

    first, last = {"one": list(CLASSES[:2]), "two": list(CLASSES[2:])}, {"one": [CLASSES[0]], "two": list(CLASSES[1:])}
    assert write(list(CLASSES), first) == ["a", "b"]
    before = (tmp_path / "2-one.csv").stat().st_mtime_ns
    write(list(CLASSES), first)
    assert (tmp_path / "2-one.csv").stat().st_mtime_ns == before
    assert write(list(CLASSES), last) == ["a"]
    assert write(list(CLASSES[::-1]), last) == ["d"]


def test_a_study_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"judge_variants", "judge_voices", "seed_tables"} <= set(published.available())
    with pytest.raises(UserError, match="name=seed_tables"):
        study.run(Call.from_arguments(["data=demo"]))
    rows: list[dict[str, Any]] = [{"id": "b", "row": "b", "mean": {"of": ["a"]}}]
    for wrong, message in ((rows, "needs 'a'"), ([{"id": "c", "row": "c"}], "exactly one of")):
        found = ("x", {"title": "", "tables": [{"title": "", "rows": wrong}]})
        monkeypatch.setattr(published.layers, "layer", lambda *_, found=found: found)
        with pytest.raises(UserError, match=message):
            published.load("x")
