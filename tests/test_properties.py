"""Properties that hold for any input: alignment, blends, metrics, csv cells, submissions."""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name, read_csv, write_csv
from tonestack.base.text import inert, uninert
from tonestack.competition import csvs, submission
from tonestack.ensemble.blends import Blend
from tonestack.settings.words import parse_folds
from tonestack.tables import load, oof
from tonestack.tables.competition import SubmissionFormat
from tonestack.tables.metrics import resolve

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import (
    average_precision_score,
    label_ranking_average_precision_score,
    log_loss,
    roc_auc_score,
)

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CLASSES = ("Bark", "Flute", "Hi-hat", "Rain")
EPS = float(np.finfo(np.float32).eps)  # the least that a probability counts as in the log loss
shares = st.sampled_from([0.0, 1e-30, 1e-6, 0.1, 0.25, 0.5, 1.0])


def rows(clips: int, classes: int) -> st.SearchStrategy[np.ndarray]:
    """Probabilities (clips, classes), zeros, ties and certainties among them."""
    raw = arrays.arrays(np.float64, (clips, classes), elements=shares)
    return raw.map(lambda x: np.where(x.sum(axis=1, keepdims=True) > 0, x, 1.0)).map(
        lambda x: (x / x.sum(axis=1, keepdims=True)).astype(np.float32)
    )


# ---------------------------------------------------------------------------------------------------------- alignment


@given(rows(6, 4), rows(3, 4), st.permutations(range(9)), st.permutations(range(6)), st.lists(st.integers(0, 2)))
@FEW
def test_a_table_means_the_same_in_any_order_of_rows_columns_and_files(
    tmp_path: Path, known: np.ndarray, test: np.ndarray, order: list[int], columns: list[int], cuts: list[int]
) -> None:
    ids = [*(f"{i}.wav" for i in range(6)), *(f"t{i}.wav" for i in range(3))]
    table = pd.DataFrame(np.concatenate([known, test]), columns=list(CLASSES))
    table = table.assign(clip_id=ids, part=["oof"] * 6 + ["test"] * 3).iloc[order].iloc[:, columns]
    folder = tmp_path / "theirs"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    part = np.array([(cuts[i] if i < len(cuts) else 0) for i in range(9)])
    part[(table["part"] == "test").to_numpy()] = 0  # a file with test rows stands for a fold and needs them all
    for k in set(part):
        table[part == k].to_parquet(folder / f"{k}.parquet", index=False)
    folds = pd.DataFrame({"clip_id": ids[:6], "label": "Bark", "verified": True, "group": "", "fold": [0, 1] * 3})
    found = load.load(folder, folds, ids[6:], CLASSES)
    assert found.oof is not None
    assert found.test is not None
    for rows_of in (known, test):
        load.soften(rows_of)  # a foreign table's hard zeros
    np.testing.assert_array_equal(found.oof, known)
    np.testing.assert_array_equal(found.test, test[None])


# ------------------------------------------------------------------------------------------------------------- blends


@given(
    st.tuples(rows(5, 4), rows(5, 4), rows(5, 4)),
    st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]),
    arrays.arrays(np.float64, 3, elements=st.sampled_from([0.0, 0.1, 0.3, 1.0])),
    st.permutations(range(3)),
    st.permutations(range(5)),
)
@FEW
def test_a_blend_is_of_probabilities_whatever_the_order_of_models_and_clips(
    each: tuple[np.ndarray, ...], power: float, free: np.ndarray, models: list[int], clips: list[int]
) -> None:
    weights = free / free.sum() if free.sum() else np.full(3, 1 / 3)
    stack = np.stack(each)
    mixed = Blend(weights, power)(stack)
    assert np.isfinite(mixed).all()
    assert (mixed >= 0).all()
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-5)
    turned = Blend(weights[models], power)(stack[models][:, clips])
    np.testing.assert_allclose(turned, mixed[clips], rtol=1e-4, atol=1e-6)
    alone = Blend(np.eye(3)[models[0]], power)(stack)
    np.testing.assert_allclose(alone, stack[models[0]], rtol=1e-4, atol=1e-6)


@given(st.tuples(rows(4, 3), rows(4, 3)), st.sampled_from(["geometric", "arithmetic"]))
@FEW
def test_folds_combine_to_probabilities_in_any_order(each: tuple[np.ndarray, ...], how: str) -> None:
    mean = oof.combine_folds(np.stack(each), how)
    np.testing.assert_allclose(mean.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(oof.combine_folds(np.stack(each[::-1]), how), mean, rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------------------------------------ metrics


def two_of_each(labels: list[int]) -> np.ndarray:
    """Targets in which no class is absent."""
    return np.array([*labels, *range(4)])


@given(st.lists(st.integers(0, 3), min_size=4, max_size=8).map(two_of_each), st.data())
@FEW
@pytest.mark.filterwarnings("ignore:The y_prob values")
def test_metrics_are_scikit_learns_with_ties_too(targets: np.ndarray, data: st.DataObject) -> None:
    scores = data.draw(rows(len(targets), 4)).astype(np.float64)
    one_hot = np.eye(4)[targets]
    clear = scores + np.linspace(0, 1e-3, 4)  # scikit-learn ranks ties its own way in the ranking metrics
    expected = {
        "auc": (scores, roc_auc_score(one_hot, scores, average="macro")),
        "mean_average_precision": (scores, average_precision_score(one_hot, scores, average="macro")),
        "lwlrap": (clear, label_ranking_average_precision_score(one_hot, clear)),
        "log_loss": (scores, log_loss(targets, np.clip(scores, EPS, 1), labels=range(4))),
    }
    for name, (given_scores, value) in expected.items():
        assert float(resolve(name)(given_scores, targets)) == pytest.approx(value, rel=1e-4, abs=1e-6), name
    best = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    hits = best == targets[:, None]
    assert float(resolve("map@3")(scores, targets)) == pytest.approx((hits / [1, 2, 3]).sum(axis=1).mean())
    order = data.draw(st.permutations(range(len(targets))))
    for name in ("map@3", "auc", "lwlrap", "log_loss", "accuracy"):
        turned = float(resolve(name)(scores[order], targets[order]))
        assert turned == pytest.approx(float(resolve(name)(scores, targets))), name


# -------------------------------------------------------------------------------------------------------------- cells

cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | st.sampled_from(
    ["=cmd()", "'=x", "''+1", "-0SdAVK79lg.wav", "@SUM(A1)", "'", "None", "nan", "NA", "1e5", "007"]
)


@given(cells)
@FEW
def test_no_guarded_cell_is_a_formula_and_each_is_read_back(text: str) -> None:
    assert not inert(text).startswith(("=", "+", "-", "@"))
    assert uninert(inert(text)) == text


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
@FEW
def test_a_csv_is_read_back_as_it_was_written(tmp_path: Path, lines: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(lines, columns=["clip_id", "=label"], dtype=object)
    write_csv(tmp_path / "t.csv", table)
    back = read_csv(tmp_path / "t.csv")
    assert back.columns.tolist() == ["clip_id", "=label"]
    assert back.to_numpy().tolist() == table.to_numpy().tolist()


@given(st.text(max_size=12) | st.sampled_from(["a/../../b", "..", "/etc", "C:x", "a\\b", "a/./b", "~", "a//b"]))
@FEW
def test_a_clip_name_that_is_taken_stays_below_its_folder(name: str) -> None:
    try:
        taken = check_clip_name(name, "here")
    except UserError:
        return
    root = Path("/competition/audio")
    assert Path(*(part for part in (root / taken).parts if part != ".")).is_relative_to(root)
    assert ".." not in Path(taken).parts
    taken.encode()


# -------------------------------------------------------------------------------------------------- words, submissions


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 10))
@FEW
def test_folds_named_one_by_one_are_those_or_refused(wanted: list[int], count: int) -> None:
    text = ",".join(map(str, wanted))
    if max(wanted) < count:
        assert parse_folds(text, list(range(count))) == sorted(set(wanted))
    else:
        with pytest.raises(UserError, match="no fold"):
            parse_folds(text, list(range(count)))


@given(rows(5, 4), st.permutations(range(5)), st.integers(1, 4))
@FEW
def test_a_submission_is_read_back_as_its_ranks(scores: np.ndarray, order: list[int], k: int) -> None:
    ids = [f"t{i}.wav" for i in range(5)]
    form = SubmissionFormat(("fname", "label"), tuple(ids[i] for i in order), "labels", k)
    try:
        table = submission.render(form, ids, CLASSES, scores)
    except UserError as error:
        assert "the same for every clip" in str(error)  # noqa: PT017  (the only thing that may be refused here)
        return
    submission.check(table, form, CLASSES)
    for row, labels in zip(order, table["label"].str.split(" "), strict=True):
        best = np.argsort(-scores[row], kind="stable")[:k]
        assert labels == [CLASSES[i] for i in best]


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@FEW
def test_any_bytes_are_a_table_of_text_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    try:
        table = csvs.read_table(path)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    assert table.map(lambda cell: isinstance(cell, str) and cell == cell.strip()).all(axis=None)
    assert table.columns.is_unique
