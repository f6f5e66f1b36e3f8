"""Metrics: by hand, against scikit-learn, ties, batches, names."""

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.tables.metrics import resolve, true_rank

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    label_ranking_average_precision_score,
    log_loss,
    roc_auc_score,
    top_k_accuracy_score,
)

RNG = np.random.default_rng(0)
N, C = 200, 7
SCORES = RNG.dirichlet(np.ones(C), N)
TARGETS = RNG.integers(C, size=N)
MANY = (RNG.random((N, C)) < 0.3).astype(int)
MANY[MANY.sum(axis=1) == 0, 0] = 1


def sorted_map(scores: np.ndarray, targets: np.ndarray, k: int) -> float:
    """The usual way: sort, look for the label."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = best == targets[:, None]
    return float((hits / np.arange(1, k + 1)).sum(axis=1).mean())


def test_map_by_hand() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    values = resolve("map@2").per_clip(scores, np.array([0, 1, 2]))
    assert values.tolist() == [1.0, 0.5, 0.0]


def test_ties_go_to_the_lower_class_index() -> None:
    scores = np.array([[0.4, 0.4, 0.2]] * 3)
    assert true_rank(scores, np.array([0, 1, 2])).tolist() == [1, 2, 3]


def test_a_constant_matrix_earns_only_its_first_classes() -> None:
    constant = np.full((C, C), 1 / C)
    assert resolve("map@3").per_clip(constant, np.arange(C)).tolist() == [1, 0.5, 1 / 3, 0, 0, 0, 0]


def test_nan_ranks_last() -> None:
    scores = np.array([[np.nan, np.nan, np.nan], [0.1, np.nan, 0.2]])
    assert true_rank(scores, np.array([0, 2])).tolist() == [3, 2]


@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_map_and_top_against_sorting(k: int) -> None:
    tied = np.round(SCORES, 1)
    for scores in (SCORES, tied):
        assert float(resolve(f"map@{k}")(scores, TARGETS)) == pytest.approx(sorted_map(scores, TARGETS, k))
    expected = top_k_accuracy_score(TARGETS, SCORES, k=k, labels=np.arange(C)) if k < C else 1.0
    assert float(resolve(f"top@{k}")(SCORES, TARGETS)) == pytest.approx(expected)


def test_against_scikit_learn() -> None:
    one_hot = np.eye(C)[TARGETS]
    checks = {
        "accuracy": accuracy_score(TARGETS, SCORES.argmax(axis=1)),
        "log_loss": log_loss(TARGETS, SCORES),
        "auc": roc_auc_score(one_hot, SCORES, average="macro"),
        "mean_average_precision": average_precision_score(one_hot, SCORES, average="macro"),
        "lwlrap": label_ranking_average_precision_score(one_hot, SCORES),
    }
    for name, expected in checks.items():
        assert float(resolve(name)(SCORES, TARGETS)) == pytest.approx(expected), name


def test_multilabel_against_scikit_learn() -> None:
    weight = MANY.sum(axis=1)
    lwlrap = label_ranking_average_precision_score(MANY, SCORES, sample_weight=weight)
    assert float(resolve("lwlrap")(SCORES, MANY)) == pytest.approx(lwlrap)
    tied = np.round(SCORES, 1)
    lwlrap = label_ranking_average_precision_score(MANY, tied, sample_weight=weight)
    assert float(resolve("lwlrap")(tied, MANY)) == pytest.approx(lwlrap)
    assert float(resolve("auc")(SCORES, MANY)) == pytest.approx(roc_auc_score(MANY, SCORES))
    assert float(resolve("mean_average_precision")(SCORES, MANY)) == pytest.approx(
        average_precision_score(MANY, SCORES)
    )


@pytest.mark.parametrize("name", sorted({*parts.names("metrics")} - {"eer", "min_dcf"}))  # of trials, not of classes
def test_a_batch_is_each_table_alone(name: str) -> None:
    batch = RNG.dirichlet(np.ones(C), (4, N))
    metric = resolve(name)
    assert metric(batch, TARGETS).shape == (4,)
    np.testing.assert_allclose(metric(batch, TARGETS), [metric(b, TARGETS) for b in batch])


def test_one_hot_targets_are_class_indices() -> None:
    one_hot = np.eye(C, dtype=int)[TARGETS]
    for name in ("map@3", "accuracy", "auc", "lwlrap"):
        assert float(resolve(name)(SCORES, one_hot)) == pytest.approx(float(resolve(name)(SCORES, TARGETS)))
    with pytest.raises(UserError, match="exactly one true label"):
        resolve("map@3")(SCORES, MANY)


def test_names() -> None:
    assert resolve("map").name == "map@3"
    assert resolve("TOP@1").k == 1
    assert not resolve("log_loss").greater_is_better
    for spec, message in (("mapp", "map"), ("map@0", "whole number"), ("map@x", "whole number"), ("auc@3", "no @k")):
        with pytest.raises(UserError, match=message):
            resolve(spec)
