"""Thresholds: found on other parts' rows, shared or by class, where the metric decides; shipped and scored."""

from itertools import product

from tonestack.tables.metrics import UNKNOWN, resolve
from tonestack.tables.thresholds import CANDIDATES, Thresholds

import numpy as np
import pytest
from scipy.special import expit

SETS = ["macro_f1", "micro_f1", "recall_specificity", "row_f1"]


def heard(n: int = 400, seed: int = 0, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores of classes of different scale, and their truth; a tenth of it unknown."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, classes)) < np.linspace(0.1, 0.4, classes)).astype(np.int8)
    scores = expit(2 * (2 * truth - 1) + rng.normal(size=truth.shape) * 1.5 - np.linspace(1, 5, classes))
    return scores, np.where(rng.random(truth.shape) < 0.1, UNKNOWN, truth).astype(np.int8)


def of(name: str, kind: str, **more: int) -> Thresholds:
    return Thresholds(resolve(name), False, kind, **more)


def value(name: str, scores: np.ndarray, truth: np.ndarray) -> float:
    return float(resolve(name)(scores, truth))


@pytest.mark.parametrize("name", SETS)
def test_a_shared_threshold_is_the_best_of_all_candidates(name: str) -> None:
    scores, truth = heard()
    limits = of(name, "shared")
    found = limits.find(scores, truth)
    assert found is not None
    assert len(set(found)) == 1
    best = max(value(name, limits.move(scores, np.full(4, t)), truth) for t in CANDIDATES)
    moved = value(name, limits.move(scores, found), truth)
    assert moved >= best - 1e-12  # quantiles are tried, too
    assert moved > value(name, scores, truth) + 0.05
    assert moved == pytest.approx(value(name, (scores >= found).astype(float), truth))


@pytest.mark.parametrize("name", SETS)
def test_thresholds_by_class_reach_what_every_combination_does(name: str) -> None:
    scores, truth = heard(120, classes=2)
    limits = of(name, "per_class", least=1)
    found = limits.find(scores, truth)
    assert found is not None
    every = [value(name, limits.move(scores, np.array(pair)), truth) for pair in product(CANDIDATES, repeat=2)]
    assert value(name, limits.move(scores, found), truth) >= max(every) - 0.01  # class by class may end beside the best
    shared = of(name, "shared").find(scores, truth)
    assert value(name, limits.move(scores, found), truth) >= value(name, limits.move(scores, shared), truth)


def test_a_class_with_few_clips_keeps_the_shared_threshold() -> None:
    scores, truth = heard()
    truth[truth[:, 0] == 1, 0] = 0
    truth[:9, 0] = 1
    shared, own = (of("macro_f1", kind).find(scores, truth) for kind in ("shared", "per_class"))
    assert shared is not None
    assert own is not None
    assert own[0] == shared[0]
    assert len(set(own)) > 1


def test_a_part_is_moved_by_thresholds_of_the_others() -> None:
    scores, truth = heard()
    part = np.arange(400) % 4
    for kind in ("shared", "per_class"):
        limits = of("row_f1", kind)
        moved = limits.nested(scores, truth, part)
        wrong = np.where((part == 2)[:, None], 1 - np.maximum(truth, 0), truth)
        again = limits.nested(scores, wrong, part)
        np.testing.assert_array_equal(moved[part == 2], again[part == 2])
        assert not np.array_equal(moved[part == 1], again[part == 1])
        assert (np.diff(moved[part == 2][np.argsort(scores[part == 2][:, 0]), 0]) >= 0).all()
        assert value("row_f1", moved, truth) > value("row_f1", scores, truth)
    assert of("row_f1", "half").nested(scores, truth, part) is scores
    assert of("macro_auc", "shared").nested(scores, truth, part) is scores


def test_a_threshold_itself_is_reached_and_what_lies_below_is_not() -> None:
    limits, t = of("row_f1", "shared"), np.array([0.1, 0.9, 0.3])
    for dtype in (np.float32, np.float64):
        moved = limits.move(np.array([t, t - 1e-3, [0, 0, 0], [1, 1, 1]], dtype=dtype), t.astype(dtype))
        assert (moved[0] == 0.5).all()
        assert (moved[1] < 0.5).all()
        assert moved[2:].tolist() == [[0] * 3, [1] * 3]


def test_two_classes_of_one_label_have_one_threshold() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(600) < 0.1).astype(int)
    p = expit(2 * (2 * truth - 1) + rng.normal(size=600) - 3)
    scores = np.column_stack([1 - p, p])
    for name in ("matthews", "macro_f1", "balanced_accuracy", "quadratic_kappa"):
        limits = Thresholds(resolve(name), True)
        moved = limits.nested(scores, truth, np.arange(600) % 3)
        np.testing.assert_allclose(moved.sum(axis=1), 1)
        assert value(name, moved, truth) > value(name, scores, truth) + 0.1
        found = limits.find(scores, truth)
        assert found is not None
        flips = limits.move(scores, found).argmax(axis=1)
        np.testing.assert_array_equal(flips, p > found[1])
    assert Thresholds(resolve("accuracy"), True).find(scores, truth) is None


def test_more_classes_of_one_label_are_weighed_where_asked() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 600, p=[0.8, 0.15, 0.05])
    odds = rng.normal(size=(600, 3)) + 1.5 * np.eye(3)[truth] + [3, 1, 0]
    scores = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    assert Thresholds(resolve("balanced_accuracy"), True, "shared").find(scores, truth) is None
    limits = Thresholds(resolve("balanced_accuracy"), True, "per_class")
    moved = limits.nested(scores, truth, np.arange(600) % 3)
    assert value("balanced_accuracy", moved, truth) > value("balanced_accuracy", scores, truth) + 0.1


def test_no_positive_clip_leaves_thresholds_that_predict_nothing_wrong() -> None:
    scores, truth = heard()
    found = of("row_f1", "per_class").find(scores, np.zeros_like(truth))
    assert found is not None
    assert value("row_f1", of("row_f1", "shared").move(scores, found), np.zeros_like(truth)) > 0.9
    assert of("row_f1", "shared").find(scores[:0], truth[:0]) is None
