"""Fold models have levels of their own: OOF rows are brought to one level by what the models say of the test rows."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tonestack.config.call import Call
from tonestack.ensemble import fold_levels, selection, stacking
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.rules import neighbours
from tonestack.ensemble.rules.neighbours import Places
from tonestack.ensemble.stack_inputs import StackInputs, StackRows
from tonestack.ensemble.tables import Tables
from tonestack.settings.data_config import StackParams
from tonestack.tables import oof
from tonestack.tables.metrics import resolve
from tonestack.tasks import multilabel
from tonestack.training import fold_job, queue
from tonestack.training.job import FoldJob
from tonestack.training.learners import Fitted

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

FOLDS, EACH, TEST, CLASSES = 4, 60, 80, ("a", "b", "c")
AUC = resolve("auc")
PLACES = Places(np.repeat(np.arange(FOLDS * EACH // 6), 6), np.tile(np.arange(6), FOLDS * EACH // 6))


def fold_models(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth and OOF rows (N, C), their folds (N,), test rows (K, M, C); fold models differ by levels of this spread."""
    rng = np.random.default_rng(seed)
    fold = np.repeat(np.arange(FOLDS), EACH)
    truth, hidden = (rng.random((n, len(CLASSES))) < 0.3 for n in (FOLDS * EACH, TEST))
    level = rng.normal(0, spread, (FOLDS, len(CLASSES)))
    rows = expit(3.0 * truth - 2 + rng.normal(0, 1, truth.shape) + level[fold])
    test = np.stack([expit(3.0 * hidden - 2 + rng.normal(0, 1, hidden.shape) + own) for own in level])
    return truth.astype(np.int8), rows.astype(np.float32), fold, test.astype(np.float32)


def levels(test: np.ndarray, one_label: bool = False) -> np.ndarray:
    """The fold models' levels (K, C) on the test rows."""
    return np.array([oof.level(fold, one_label) for fold in test])


def test_rows_of_all_folds_are_brought_to_one_level() -> None:
    truth, rows, fold, test = fold_models(spread=2)
    even = fold_models(spread=0)[1]
    before = float(AUC(rows, truth))
    fold_levels.align(rows, levels(test), fold, one_label=False)
    assert float(AUC(rows, truth)) > before + 0.05
    assert float(AUC(rows, truth)) == pytest.approx(float(AUC(even, truth)), abs=0.01)


def test_the_order_within_a_fold_and_missing_rows_stay() -> None:
    _, rows, fold, test = fold_models(spread=2)
    rows[5] = np.nan
    before = rows.copy()
    fold_levels.align(rows, levels(test), fold, one_label=False)
    assert np.isnan(rows[5]).all()
    for k in range(FOLDS):
        here = (fold == k) & np.isfinite(before).all(axis=1)
        np.testing.assert_array_equal(before[here].argsort(axis=0), rows[here].argsort(axis=0))
    moved = logit(rows[fold == 1].astype(float)) - logit(before[fold == 1].astype(float))
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-3)  # one number per class


def test_rows_of_one_label_still_sum_to_one() -> None:
    _, rows, fold, test = fold_models(spread=1)
    rows, test = rows / rows.sum(axis=1, keepdims=True), test / test.sum(axis=2, keepdims=True)
    fold_levels.align(rows, levels(test, True), fold, one_label=True)
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)


def written(folder: Path, kind: str) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """Write the table `m@r0` of fold models; return the folds table, the test clips' names and the OOF rows."""
    _, rows, fold, test = fold_models(spread=2)
    names, hidden = [f"c{i}" for i in range(len(rows))], [f"t{i}" for i in range(TEST)]
    for k in range(FOLDS):
        here = np.flatnonzero(fold == k)
        ids, values = [names[i] for i in here] + hidden, np.concatenate([rows[here], test[k]])
        parts = ["oof"] * len(here) + ["test"] * TEST
        oof.write_fold(folder / "m@r0", k, ids, parts, values, CLASSES, {"kind": kind})
    table = pd.DataFrame({"clip_id": names, "label": "a", "verified": True, "group": "", "fold": fold})
    return table, hidden, rows


@pytest.mark.parametrize(
    ("kind", "level", "moves"), [("train", True, True), ("train", False, False), ("blend", True, False)]
)
def test_models_are_levelled_and_made_tables_are_not(tmp_path: Path, kind: str, level: bool, moves: bool) -> None:
    table, hidden, rows = written(tmp_path, kind)
    args: Any = (tmp_path, ("m@r0",), table, tuple(hidden), CLASSES, multilabel.TASK, "auc", "geometric")
    read = Tables(*args, level=level).oof("m@r0")
    assert np.allclose(read, rows) != moves
    np.testing.assert_array_equal(Tables(*args, level=level).read("m@r0").test, Tables(*args).read("m@r0").test)


@pytest.mark.parametrize(("on", "moves"), [(lambda k: "same", True), (lambda k: f"other{k}", False)])
def test_without_test_rows_the_receipts_say_the_levels(tmp_path: Path, on: Callable[[int], str], moves: bool) -> None:
    _, rows, fold, test = fold_models(spread=2)
    names = [f"c{i}" for i in range(len(rows))]
    for k, level in enumerate(levels(test)):
        ids = [names[i] for i in np.flatnonzero(fold == k)]
        receipt = {"kind": "train", "levels": {"on": on(k), "values": level.tolist()}}
        oof.write_fold(tmp_path / "m@r0", k, ids, ["oof"] * len(ids), rows[fold == k], CLASSES, receipt)
    table = pd.DataFrame({"clip_id": names, "label": "a", "verified": True, "group": "", "fold": fold})
    args: Any = (tmp_path, ("m@r0",), table, (), CLASSES, multilabel.TASK, "auc", "geometric")
    read = Tables(*args, level=True).oof("m@r0")
    if moves:
        fold_levels.align(rows, levels(test), fold, one_label=False)
    np.testing.assert_allclose(read, rows, rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "even"),
    [
        (["metric=auc"], True),
        (["metric=mean_average_precision"], True),
        (["metric=lwlrap"], False),  # it compares the classes of one row
        (["metric=lwlrap", "fold_levels=even"], True),
        (["metric=auc", "fold_levels=kept"], False),
    ],
)
def test_levels_are_evened_where_the_metric_compares_rows_of_a_class(words: list[str], even: bool) -> None:
    assert Call.from_arguments(["data=demo_multilabel", *words]).even_levels == even
    assert not Call.from_arguments(["data=demo"]).even_levels


def test_stackers_of_the_folds_are_brought_to_one_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fold's stacker expects less of the classes that it has not learnt: here by as much as the fold's number."""
    truth, rows, fold, test = fold_models(spread=0)

    def fit(name: str, learn: StackRows, *rest: object) -> Any:
        missing = (set(range(FOLDS)) - set(learn.fold.tolist())).pop()
        return lambda inputs: expit(inputs.columns_of(0)[:, :1] * np.ones(len(CLASSES)) - 3 * missing)

    monkeypatch.setattr(stacking, "fit", fit)
    inputs, ahead = (StackInputs.of(x[None], None, True) for x in (rows, test.mean(axis=0)))
    learn = StackRows(inputs, truth, np.ones(len(rows)), fold, len(CLASSES), None)
    params = StackParams(jobs=1)
    plain = stacking.nested("any", learn, inputs, fold, params, 0)
    level = stacking.nested("any", learn, inputs, fold, params, 0, ahead)
    assert float(AUC(plain[:, :1], truth[:, :1])) < 0.75
    assert float(AUC(level[:, :1], truth[:, :1])) > 0.9


def test_a_table_is_scaled_like_another_and_keeps_its_order() -> None:
    _, rows, _, _ = fold_models(spread=1)
    other = fold_models(spread=0, seed=1)[1]
    made = fold_levels.scaled_like(rows, other)
    np.testing.assert_array_equal(rows.argsort(axis=0, kind="stable"), made.argsort(axis=0, kind="stable"))
    for of in (np.mean, np.std):
        np.testing.assert_allclose(of(logit(made), axis=0), of(logit(other), axis=0), rtol=1e-3)


def test_a_nested_choice_joins_tables_of_other_levels() -> None:
    """Two tables that are alike but for their level: whatever is chosen where, the choice scores as they do."""
    truth, rows, fold, _ = fold_models(spread=0)
    rng = np.random.default_rng(3)
    low, high = (expit(logit(rows) + add + rng.normal(0, 0.3, rows.shape)).astype(np.float32) for add in (-2, 2))

    class One:
        complexity = 1

        def __init__(self, name: str, scores: np.ndarray) -> None:
            self.name, self.scores = name, scores

    pair = [One("low", low), One("high", high)]
    turns = iter([pair[0], *(pair[k % 2] for k in range(FOLDS))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_pick", lambda *given: next(turns))
        found = selection.select(pair, AUC, truth, fold, one_label=False, level=True)
    assert set(found.by_part.values()) == {"low", "high"}
    assert float(AUC(found.scores, truth)) == pytest.approx(float(AUC(low, truth)), abs=0.02)


def test_a_rule_of_windows_is_not_chosen_for_the_levels_of_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that happens to bring folds to one level, but harms the order within them, is better pooled alone."""
    truth, rows, fold, _ = fold_models(spread=3)
    noise = np.random.default_rng(5).normal(0, 1, rows.shape)

    def harmful(values: np.ndarray, places: Places) -> np.ndarray:
        logs = logit(values.astype(float))
        return expit(logs - np.stack([logs[fold == k].mean(axis=0) for k in range(FOLDS)])[fold] + noise)

    assert float(AUC(harmful(rows, PLACES), truth)) > float(AUC(rows, truth)) + 0.05
    monkeypatch.setattr(neighbours, "rules", lambda: [lambda values, places: values, harmful])
    problem = Problem(rows[None], truth, AUC, ("m",), normalise=False)
    _, nested = neighbours.choose(rows, PLACES, problem, np.ones(len(rows), dtype=bool), fold)
    np.testing.assert_array_equal(nested, rows)


@pytest.mark.parametrize(("tests", "count"), [(0, 64), (oof.LEVEL_LEAST - 1, 64), (oof.LEVEL_LEAST, 0)])
def test_levels_are_measured_on_unlabelled_recordings_where_test_rows_are_few(tests: int, count: int) -> None:
    student = SimpleNamespace(window=5.0)
    call = cast(Call, SimpleNamespace(even_levels=True, data=SimpleNamespace(student=student)))
    pool = [f"p{i}" for i in range(200)]
    found = queue.level_on(call, pool, ["t"] * tests)
    assert len(found.get("level_on", ())) == count
    if count:
        assert (found["level_on"][0], found["level_on"][-1]) == ("p0", "p199")
        assert queue.level_on(call, pool[:3], [])["level_on"] == ("p0", "p1", "p2")
        assert queue.level_on(call, [], [])["level_on"] == ()


def test_a_receipts_level_is_the_mean_log_odds_of_the_windows_that_are_heard() -> None:
    logs = np.log(np.array([[0.2, 0.5], [0.4, 0.1], [np.nan, np.nan]]))
    job = cast(FoldJob, SimpleNamespace(task="multilabel", level_on=("p0",), window=5.0))
    fitted = cast(Fitted, SimpleNamespace(log_probabilities=lambda ids: logs))
    found = fold_job._levels(job, fitted, ["a", "b", "c"])
    np.testing.assert_allclose(found["values"], logit(np.exp(logs[:2])).mean(axis=0), atol=1e-4)
    assert fold_job._levels(job, cast(Fitted, SimpleNamespace(log_probabilities=lambda ids: logs[2:])), ["c"]) == {}
