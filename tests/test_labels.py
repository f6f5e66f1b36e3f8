"""Label revisions: a holdout never learns from its own fold, and every weight is accounted for."""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
from tonestack.cleaning import revision_files
from tonestack.labels import folds, revisions, training_labels
from tonestack.labels.label_tables import LabelTables
from tonestack.labels.training_labels import Labels
from tonestack.settings.model_config import TrainingParams
from tonestack.tasks import classify
from tonestack.training import queue

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

AB = ("a", "b")


def fold_table(fold: list[int], label: str | None = None, verified: list[bool] | None = None) -> pd.DataFrame:
    n = len(fold)
    made = {"clip_id": [f"{i}.wav" for i in range(n)], "label": list(label or ("ab" * n)[:n])}
    return pd.DataFrame(made | {"verified": verified or [True] * n, "group": "", "fold": fold})


def given_revision(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    folds.write(folder, table, {})
    return LabelTables(folder).revision("r0")


def pick(revision: pd.DataFrame, holdout: int = 0, **params: object) -> Labels:
    return training_labels.for_holdout(
        revision, holdout, AB, classify.TASK.targets, TrainingParams.model_validate(params)
    )


def revision(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    """Rows (clip, label, weight, source) of holdout 0."""
    return pd.DataFrame(rows, columns=["clip_id", "label", "weight", "source"]).assign(holdout=0)


# ----------------------------------------------------------------------------------------------------- the given labels


def test_clips_without_a_fold_are_always_learnt_from(tmp_path: Path) -> None:
    rows = given_revision(tmp_path, fold_table([0, -1, -1, 0]))
    assert rows["holdout"].unique().tolist() == [0]
    assert pick(rows).clip_ids == ["1.wav", "2.wav"]


@given(fold=st.lists(st.integers(0, 3), min_size=2, max_size=20).filter(lambda fold: len(set(fold)) > 1))
@settings(max_examples=30, deadline=None)
def test_a_holdout_learns_from_all_clips_but_its_own(tmp_path_factory: pytest.TempPathFactory, fold: list[int]) -> None:
    table = fold_table(fold)
    rows = given_revision(tmp_path_factory.mktemp("r"), table)
    for k in set(fold):
        wanted = table.loc[table["fold"] != k, "clip_id"].tolist()
        assert rows.loc[rows["holdout"] == k, "clip_id"].tolist() == wanted


def test_given_labels_know_who_has_been_verified(tmp_path: Path) -> None:
    rows = given_revision(tmp_path, fold_table([0, 1, 1], verified=[True, True, False]))
    assert rows[rows["holdout"] == 0]["source"].tolist() == ["verified", "given"]
    assert rows["weight"].eq(1).all()


def test_labels_of_the_held_out_fold_change_nothing_in_its_training_labels(tmp_path: Path) -> None:
    fold = [0, 1, 2, 0, 1, 2]
    before = given_revision(tmp_path, fold_table(fold, "ababab"))
    after = given_revision(tmp_path, fold_table(fold, "bbaaab"))  # clips 0 and 3, the whole of fold 0
    assert pick(before, 0).fingerprint == pick(after, 0).fingerprint
    assert pick(before, 1).fingerprint != pick(after, 1).fingerprint
    assert pick(before, 2).fingerprint != pick(after, 2).fingerprint


# ------------------------------------------------------------------------------------------------------------- weights


def test_weights_are_the_rows_times_the_sources() -> None:
    rows = revision(("x", "a", 1, "verified"), ("y", "b", 0.5, "given"), ("z", "b", 0.5, "pseudo"))
    made = pick(rows, source_weights={"given": 0.5, "verified": 2})
    assert made.clip_ids == ["x", "y", "z"]
    assert made.weights.tolist() == [2, 0.25, 0.5]  # a source without a weight keeps its row's
    assert made.targets.tolist() == [[1, 0], [0, 1], [0, 1]]


def test_weight_0_leaves_a_clip_out() -> None:
    rows = revision(("x", "a", 0, "verified"), ("y", "b", 1, "given"), ("z", "a", 1, "verified"))
    assert pick(rows).clip_ids == ["y", "z"]
    assert pick(rows, source_weights={"given": 0}).clip_ids == ["z"]


def test_verified_only_leaves_every_other_source_out() -> None:
    rows = revision(("x", "a", 1, "verified"), ("y", "b", 1, "given"), ("z", "a", 1, "pseudo"))
    assert pick(rows, verified_only=True).clip_ids == ["x"]


def test_nothing_left_to_learn_is_refused() -> None:
    with pytest.raises(UserError, match=r"holdout 0: no clip is left to train on .* check the folds, corrections"):
        pick(revision(("y", "b", 1, "given")), verified_only=True)


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(UserError, match="label 'c' is not among the 2 classes"):
        pick(revision(("y", "c", 1, "given")))


# ---------------------------------------------------------------------------------------------------------- revisions


def test_class_columns_are_soft_labels() -> None:
    rows = revision(("x", "a", 1, "verified"), ("y", "b", 0.5, "given")).assign(b=[0.25, 1.0], a=[0.75, 0.0])
    made = pick(rows)
    assert made.targets.tolist() == [[0.75, 0.25], [0, 1]]  # by class name, not by position
    assert made.targets.dtype == np.float32


def test_a_revision_is_read_by_name_with_labels_as_they_are_spelt(tmp_path: Path) -> None:
    rows = revision(("007", "None", 0.5, "given"), ("1.wav", "a", 1, "verified"))
    rows.to_csv(tmp_path / "spread.csv", index=False)
    read = LabelTables(tmp_path).revision("spread")
    assert read[["clip_id", "label"]].to_numpy().tolist() == [["007", "None"], ["1.wav", "a"]]


def test_a_revision_that_is_not_there_is_refused_with_what_there_is(tmp_path: Path) -> None:
    given_revision(tmp_path, fold_table([0, 1]))
    with pytest.raises(UserError, match=r"no label revision 'pseudo1' in .*; there is: r0"):
        LabelTables(tmp_path).revision("pseudo1")


def test_the_fingerprint_tells_clips_targets_and_weights_apart() -> None:
    base = Labels(["x", "y"], np.eye(2, dtype=np.float32), np.ones(2, dtype=np.float32))
    others = [
        Labels(["y", "x"], base.targets, base.weights),
        Labels(base.clip_ids, base.targets[::-1].copy(), base.weights),
        Labels(base.clip_ids, base.targets, base.weights * 0.7),
    ]
    same = Labels(["x", "y"], base.targets.copy(), base.weights.copy())
    assert same.fingerprint == base.fingerprint
    assert len({made.fingerprint for made in [base, *others]}) == 4


def test_the_chosen_revision_is_remembered_while_it_is_there(tmp_path: Path) -> None:
    given_revision(tmp_path, fold_table([0, 1, 0]))
    assert revisions.chosen(tmp_path) == "r0"
    revisions.choose(tmp_path, "agree")
    assert revisions.chosen(tmp_path) == "r0"  # its rows are not there
    (tmp_path / "agree.csv").write_text("clip_id,holdout,label,weight,source\n")
    assert revisions.chosen(tmp_path) == "agree"


def test_a_revision_made_for_other_folds_is_refused() -> None:
    queue.refuse_leak("agree", 0, ["a", "b"], ["c"])
    with pytest.raises(UserError, match=r"'agree': holdout 1 would train on clips .*\(b; 1 in all\)"):
        queue.refuse_leak("agree", 1, ["a", "b"], ["b", "c"])


def test_class_columns_of_many_rows_lie_in_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision_files, "LARGE", 5)
    rows = pd.DataFrame([["x", 0, "dog", 1.0, "pseudo"], ["y", 0, "cat", 1.0, "pseudo"]], columns=revisions.COLUMNS)
    soft = pd.DataFrame(np.array([[0.25, 0.75, np.nan], [0.5, 0, 1]], np.float32), columns=["dog", "cat", "=cow"])
    whole = pd.concat([rows, soft], axis=1)
    revision_files.write(tmp_path, "pseudo1", whole, pd.DataFrame(), {"inputs": {}})
    assert (tmp_path / "pseudo1.csv").read_text().splitlines()[0] == "clip_id,holdout,label,weight,source"
    tables = LabelTables(tmp_path)
    assert tables.revision("pseudo1").equals(whole)
    known = revisions.content(tmp_path, "pseudo1")
    soft.assign(cat=0.5).astype(np.float32).to_parquet(tmp_path / "pseudo1.soft.parquet", index=False)
    assert revisions.content(tmp_path, "pseudo1") != known
    with pytest.raises(UserError, match="changed by hand"):
        tables.revision("pseudo1")
    revision_files.write(tmp_path, "pseudo1", rows, pd.DataFrame(), {"inputs": {}})  # of hard labels now
    assert not (tmp_path / "pseudo1.soft.parquet").exists()
    assert LabelTables(tmp_path).revision("pseudo1").equals(rows)


def test_a_killed_write_leaves_no_old_rows_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame([["x", 0, "dog", 1.0, "pseudo"]], columns=revisions.COLUMNS)
    revision_files.write(tmp_path, "pseudo1", rows, pd.DataFrame(), {"inputs": {}})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(revision_files, "write_csv", killed)
    with pytest.raises(KeyboardInterrupt):
        revision_files.write(tmp_path, "pseudo1", rows, pd.DataFrame(), {"inputs": {}})
    assert not list(tmp_path.glob("pseudo1.[cj]s*"))
    assert not revision_files.up_to_date(tmp_path, "pseudo1", {})


def test_labels_are_hashed_block_by_block_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    targets, weights = rng.random((7, 3), dtype=np.float32), rng.random(7, dtype=np.float32)
    labels = Labels([f"ä{n}.wav" for n in range(7)], targets, weights)
    monkeypatch.setattr(training_labels, "BLOCK", 3)
    arrays = [array.round(6).tobytes().hex() for array in (targets, weights)]
    assert labels.fingerprint == fingerprint([labels.clip_ids, *arrays])  # what finished folds know


def test_an_inner_part_is_small_where_a_group_is_large() -> None:
    ids = [str(i) for i in range(100)]
    groups = {name: "large" if int(name) < 60 else name[0] for name in ids}
    for seed in range(20):
        part = training_labels.inner_part(ids, groups, 0.2, seed)
        assert part.sum() in (10, 20)
        assert not part[:60].any()
