"""Metrics: by hand, against scikit-learn, ties, batches, names."""

from collections.abc import Callable

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.tables.metrics import KINDS, UNKNOWN, fitting, resolve, true_rank

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    label_ranking_average_precision_score,
    log_loss,
    matthews_corrcoef,
    roc_auc_score,
    top_k_accuracy_score,
)

RNG = np.random.default_rng(0)
N, C = 200, 7
SCORES = RNG.dirichlet(np.ones(C), N)
TARGETS = RNG.integers(C, size=N)
MANY = (RNG.random((N, C)) < 0.3).astype(int)
MANY[MANY.sum(axis=1) == 0, 0] = 1
TIED = np.round(SCORES, 1)
LIKELY = RNG.random((N, C))  # independent probabilities, about half of them from 0.5 on


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


@pytest.mark.parametrize("name", sorted({*parts.names("metrics")} - {"binary_auc", "eer", "min_dcf"}))  # one column
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
    assert resolve("padded_cmap").name == "padded_cmap@5"
    assert resolve("macro_auc").module is resolve("auc").module
    for spec, message in (("mapp", "map"), ("map@0", "whole number"), ("map@x", "whole number"), ("auc@3", "no @k")):
        with pytest.raises(UserError, match=message):
            resolve(spec)


def value(name: str, scores: np.ndarray | list, targets: np.ndarray | list) -> float:
    return float(resolve(name)(np.asarray(scores, dtype=float), np.asarray(targets)))


# ----------------------------------------------------------------------------------------------- areas and averages


@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["distinct", "tied"])
def test_areas_against_scikit_learn(scores: np.ndarray) -> None:
    assert value("macro_auc", scores, MANY) == pytest.approx(roc_auc_score(MANY, scores))
    assert value("pooled_auc", scores, MANY) == pytest.approx(roc_auc_score(MANY, scores, average="micro"))
    one_hot = np.eye(C)[TARGETS]
    assert value("pooled_auc", scores, TARGETS) == pytest.approx(roc_auc_score(one_hot, scores, average="micro"))
    expected = roc_auc_score(MANY[:, 1], scores[:, 1])
    assert value("binary_auc", scores[:, 1:2], MANY[:, 1]) == pytest.approx(expected)
    assert value("binary_auc", scores[:, 1:2], MANY[:, 1:2]) == pytest.approx(expected)
    both = np.column_stack([1 - scores[:, 1], scores[:, 1]])
    assert value("binary_auc", both, MANY[:, 1]) == pytest.approx(expected)


def test_a_class_of_one_kind_is_left_out_of_the_macro_area_but_not_of_the_pooled_one() -> None:
    scores, targets = [[0.1, 0.9, 0.3], [0.2, 0.4, 0.5]], [[0, 0, 1], [1, 0, 1]]
    assert value("macro_auc", scores, targets) == 1  # the first class alone has both kinds
    # positives .2 .3 .5, others .1 .9 .4: 1 + 1 + 2 of the 9 pairs are in order
    assert value("pooled_auc", scores, targets) == pytest.approx(4 / 9)
    assert np.isnan(value("pooled_auc", scores, np.ones((2, 3))))
    assert np.isnan(value("binary_auc", [[0.1], [0.2]], [1, 1]))


def test_binary_auc_needs_one_column_or_two_classes() -> None:
    for scores, targets in ((SCORES, TARGETS), (SCORES[:, :2], MANY[:, :2])):
        with pytest.raises(UserError, match="two classes or one column"):
            value("binary_auc", scores, targets)


@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["distinct", "tied"])
@pytest.mark.parametrize("k", [1, 5])
def test_padded_cmap_against_scikit_learn(scores: np.ndarray, k: int) -> None:
    targets = MANY.copy()
    targets[:, 2] = 0  # a class without a true clip
    ones = np.ones((k, C))
    expected = average_precision_score(np.vstack([targets, ones]), np.vstack([scores, ones]), average="macro")
    assert value(f"padded_cmap@{k}", scores, targets) == pytest.approx(expected)


def test_padded_cmap_by_hand() -> None:
    absent, certain = [[0.9], [0.2]], [[1.0], [0.2]]
    assert value("padded_cmap@5", absent, [[0], [0]]) == 1  # no prediction reaches 1
    assert value("padded_cmap@5", certain, [[0], [0]]) == pytest.approx(5 / 6)
    assert value("padded_cmap@2", absent, [[0], [1]]) == pytest.approx((1 + 1 + 3 / 4) / 3)


# ----------------------------------------------------------------------------------------------------------- squares


def test_brier_against_scikit_learn_and_by_hand() -> None:
    assert value("brier", SCORES, TARGETS) == pytest.approx(brier_score_loss(TARGETS, SCORES))
    assert value("brier", 3 * SCORES, TARGETS) == pytest.approx(brier_score_loss(TARGETS, SCORES))  # normalised
    two = np.column_stack([1 - LIKELY[:, 0], LIKELY[:, 0]])
    assert value("brier", two, MANY[:, 0]) == pytest.approx(brier_score_loss(MANY[:, 0], LIKELY[:, 0]))
    each = [brier_score_loss(MANY[:, c], LIKELY[:, c]) for c in range(C)]
    assert value("brier", LIKELY, MANY) == pytest.approx(np.mean(each))
    assert value("brier", [[0.0, 1.0, 0.0]], [0]) == 2  # the worst row of three classes
    assert value("brier", [[0.5, 0.0]], [[0, 0]]) == pytest.approx(0.125)  # a clip without a label


# ------------------------------------------------------------------------------------------------------ best classes


@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["distinct", "tied"])
def test_best_classes_against_scikit_learn(scores: np.ndarray) -> None:
    best = scores.argmax(axis=1)
    expected = {
        "balanced_accuracy": balanced_accuracy_score(TARGETS, best),
        "quadratic_kappa": cohen_kappa_score(TARGETS, best, labels=np.arange(C), weights="quadratic"),
        "matthews": matthews_corrcoef(TARGETS, best),
        "macro_f1": f1_score(TARGETS, best, average="macro"),
        "micro_f1": f1_score(TARGETS, best, average="micro"),
    }
    assert {name: value(name, scores, TARGETS) for name in expected} == pytest.approx(expected)
    assert value("micro_f1", scores, TARGETS) == pytest.approx(value("accuracy", scores, TARGETS))


def test_best_classes_by_hand() -> None:
    rows = np.eye(4)
    scores, targets = rows[[0, 0, 1, 0]], [0, 0, 0, 1]  # class 2 and 3: neither true nor predicted
    assert value("balanced_accuracy", scores, targets) == pytest.approx((2 / 3 + 0) / 2)
    assert value("macro_f1", scores, targets) == pytest.approx((2 / 3 + 0) / 2)
    assert value("matthews", scores, targets) == pytest.approx(-1 / 3)
    # mistakes cost 1: 2 of 4 clips; by chance 3/4 x 1/4 x 2 of the clips
    assert value("quadratic_kappa", scores, targets) == pytest.approx(1 - (2 / 4) / (6 / 16))
    far = value("quadratic_kappa", rows[[0, 0, 3, 3]], [0, 0, 3, 0])
    near = value("quadratic_kappa", rows[[0, 0, 3, 2]], [0, 0, 3, 3])
    assert 0 < far < near < 1


def test_one_class_alone_correlates_with_nothing() -> None:
    scores = np.eye(3)[[1, 1]]
    assert value("matthews", scores, [1, 1]) == 0
    assert value("matthews", scores, [1, 2]) == 0
    assert np.isnan(value("quadratic_kappa", scores, [1, 1]))
    assert value("balanced_accuracy", scores, [1, 1]) == value("macro_f1", scores, [1, 1]) == 1


def test_a_tie_goes_to_the_lower_class_index() -> None:
    tied = np.full((2, 2), 0.5)
    for name in ("balanced_accuracy", "micro_f1", "accuracy"):
        assert value(name, tied, [0, 1]) == 0.5
        assert value(name, tied, [0, 0]) == 1


# --------------------------------------------------------------------------------------- label sets at one half


@pytest.mark.parametrize("scores", [LIKELY, np.round(LIKELY, 1)], ids=["distinct", "tied"])
def test_label_sets_against_scikit_learn(scores: np.ndarray) -> None:
    targets = MANY.copy()
    targets[:9], targets[:, 2] = 0, 0  # clips without a label, a class without a true clip
    scores = scores.copy()
    scores[5:14] *= 0.4  # clips without a predicted label: with and without a true one
    there = (scores >= 0.5).astype(int)
    macro = f1_score(targets, there, average="macro", zero_division=np.nan)
    assert value("macro_f1", scores, targets) == pytest.approx(macro)
    assert value("micro_f1", scores, targets) == pytest.approx(f1_score(targets, there, average="micro"))
    assert value("row_f1", scores, targets) == pytest.approx(
        f1_score(targets, there, average="samples", zero_division=1.0)
    )
    each = [balanced_accuracy_score(targets[:, c], there[:, c]) for c in range(C) if targets[:, c].any()]
    assert value("recall_specificity", scores, targets) == pytest.approx(np.mean(each))


def test_label_sets_by_hand() -> None:
    scores = [[0.5, 0.7, 0.1], [0.4, 0.4, 0.4], [0.1, 0.2, 0.3], [0.9, 0.0, 0.0]]
    targets = [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    values = resolve("row_f1").per_clip(np.array(scores), np.array(targets))
    assert values.tolist() == pytest.approx([2 / 3, 1, 0, 0])  # one half counts; {nothing} is right, missed, wrong
    assert value("micro_f1", scores, targets) == pytest.approx(2 / (3 + 2))
    assert value("macro_f1", scores, targets) == pytest.approx((2 / 3 + 0 + 0) / 3)
    # classes 0 and 2 have a true clip: recall 1 and 0, specificity 2/3 and 1
    assert value("recall_specificity", scores, targets) == pytest.approx((1 + 2 / 3 + 0 + 1) / 4)


def test_without_any_label() -> None:
    scores, targets = np.full((2, 3), 0.1), np.zeros((2, 3), dtype=int)
    assert value("row_f1", scores, targets) == 1
    for name in ("macro_f1", "micro_f1", "recall_specificity", "macro_auc", "pooled_auc"):
        assert np.isnan(value(name, scores, targets)), name


# ------------------------------------------------------------------------------------------------- unknown cells

SEVERAL = [name for name in fitting("several labels per clip") if name != "binary_auc"]
PARTLY = np.where(RNG.random((N, C)) < 0.4, UNKNOWN, MANY)
PARTLY[:4], PARTLY[4:8] = 0, UNKNOWN  # clips with nothing, clips of which nothing is known
KNOWN = PARTLY != UNKNOWN


def columns(of: Callable[..., float], scores: np.ndarray) -> float:
    """The mean over classes of a measure of one class's known clips: of(true, score)."""
    return float(np.mean([of(PARTLY[KNOWN[:, c], c], scores[KNOWN[:, c], c]) for c in range(C)]))


@pytest.mark.parametrize("scores", [LIKELY, np.round(LIKELY, 1)], ids=["distinct", "tied"])
def test_unknown_cells_are_left_out_as_if_their_clips_were_not_there(scores: np.ndarray) -> None:
    ones = np.ones(5)
    expected = {
        "macro_auc": columns(roc_auc_score, scores),
        "mean_average_precision": columns(average_precision_score, scores),
        "padded_cmap": columns(lambda y, s: average_precision_score(np.r_[y, ones], np.r_[s, ones]), scores),
        "macro_f1": columns(lambda y, s: f1_score(y, s >= 0.5), scores),
        "recall_specificity": columns(lambda y, s: balanced_accuracy_score(y, s >= 0.5), scores),
        "pooled_auc": roc_auc_score(PARTLY[KNOWN], scores[KNOWN]),
        "micro_f1": f1_score(PARTLY[KNOWN], scores[KNOWN] >= 0.5),
        "brier": brier_score_loss(PARTLY[KNOWN], scores[KNOWN]),
        "log_loss": log_loss(PARTLY[KNOWN], np.clip(scores[KNOWN], 2**-23, 1 - 2**-23)),
    }
    assert {name: value(name, scores, PARTLY) for name in expected} == pytest.approx(expected)


def test_row_metrics_with_unknown_cells_by_hand() -> None:
    scores = [[0.9, 0.8, 0.1], [0.9, 0.6, 0.1], [0.1, 0.2, 0.7], [0.9, 0.9, 0.9]]
    targets = [[1, UNKNOWN, 0], [UNKNOWN, 1, 0], [UNKNOWN, UNKNOWN, 1], [UNKNOWN] * 3]
    assert value("row_f1", scores, targets) == 1  # three clips, known classes alone
    assert value("row_f1", scores, [[1, 0, 0], *targets[1:]]) == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert value("lwlrap", scores, targets) == 1
    assert resolve("lwlrap").weights(np.array(targets)).tolist() == [1, 1, 0, 0]  # nothing to rank the third one before
    assert value("lwlrap", scores, [[UNKNOWN, 1, 0], [0, 1, UNKNOWN], [1, 1, 1], targets[3]]) == pytest.approx(
        (1 + 1 / 2 + 3) / 5
    )


@pytest.mark.parametrize("name", SEVERAL)
def test_scores_of_unknown_cells_and_clips_of_which_nothing_is_known_change_nothing(name: str) -> None:
    metric = resolve(name)
    found = value(name, LIKELY, PARTLY)
    assert value(name, np.where(KNOWN, LIKELY, RNG.random((N, C))), PARTLY) == pytest.approx(found)
    some = KNOWN.any(axis=1)
    assert value(name, LIKELY[some], PARTLY[some]) == pytest.approx(found)
    assert value(name, LIKELY, np.where(KNOWN, PARTLY, 0)) != pytest.approx(found)
    batch = RNG.random((3, N, C))
    np.testing.assert_allclose(metric(batch, PARTLY), [float(metric(b, PARTLY)) for b in batch])


# --------------------------------------------------------------------------------------------------------- contract

NEW = ["balanced_accuracy", "brier", "macro_f1", "matthews", "micro_f1", "padded_cmap", "pooled_auc", "quadratic_kappa"]
NEW += ["recall_specificity", "row_f1", "macro_auc"]


@pytest.mark.parametrize("name", NEW)
def test_a_broken_score_is_never_a_good_one(name: str) -> None:
    broken = SCORES.copy()
    broken[3] = np.nan
    assert np.isnan(value(name, broken, TARGETS))
    if "several labels per clip" in resolve(name).truth:
        assert np.isnan(value(name, broken, MANY))


@pytest.mark.parametrize("name", NEW)
def test_a_perfect_table_is_best(name: str) -> None:
    perfect = np.eye(C)[TARGETS] * 0.98 + 0.001
    best = value(name, perfect, TARGETS)
    assert best == pytest.approx(0 if name == "brier" else 1, abs=1e-3)
    assert resolve(name).sign * best > resolve(name).sign * value(name, SCORES, TARGETS)


def test_every_metric_names_its_kinds_of_truth() -> None:
    assert {*fitting("trials")} == {"binary_auc", "eer", "min_dcf"}
    one = {"accuracy", "balanced_accuracy", "map", "matthews", "quadratic_kappa", "top"}
    assert {*fitting("one label per clip")} - {*fitting("several labels per clip")} == one
    assert {name for kind in KINDS for name in fitting(kind)} == {*parts.names("metrics")}
    for name in one:
        with pytest.raises(UserError, match="exactly one true label"):
            value(name, SCORES, MANY)


def test_metrics_that_are_means_over_classes_say_what_each_class_has() -> None:
    rng = np.random.default_rng(0)
    truth, scores = (rng.random((50, 4)) < 0.3).astype(int), rng.random((50, 4))
    truth[:, 3] = 0
    for name in ("auc", "mean_average_precision", "padded_cmap@5"):
        metric = resolve(name)
        values = metric.by_class(scores, truth)
        assert values is not None
        assert np.isnan(values[3]) == (name != "padded_cmap@5")
        assert float(np.nanmean(values)) == pytest.approx(float(metric(scores, truth)))
    assert resolve("row_f1").by_class(scores, truth) is None
