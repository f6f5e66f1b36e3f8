"""Adversarial validation: a classifier separates two sets of clips by their statistics, and ranks the statistics."""

from dataclasses import dataclass

from tonestack.settings.data_config import ShiftParams

import numpy as np
from joblib import Parallel, delayed

LEAST = 20  # clips per set, below which there is no comparison


@dataclass(frozen=True)
class Comparison:
    """The separability of two sets.

    auc, low, high: area under the ROC curve of held-out clips with its 95 % interval; 0.5: inseparable.
    scores (N,): probability, 0..1, that each clip is of the second set, by a model not trained on the clip.
    gain (S,): each statistic's share in the trees.
    """

    auc: float
    low: float
    high: float
    scores: np.ndarray
    gain: np.ndarray


def compare(
    x: np.ndarray, second: np.ndarray, groups: np.ndarray, params: ShiftParams, seed: int = 0
) -> Comparison | None:
    """Separate clips with statistics x (N, S) by `second` (N,) of bool; None if a set has too few.

    groups (N,): clips of one group stay in one fold, as clips of one source recording are too alike.
    """
    if min(second.sum(), (~second).sum()) < LEAST:
        return None
    from sklearn.model_selection import StratifiedGroupKFold  # half a second that only this stage needs

    folds = StratifiedGroupKFold(params.folds, shuffle=True, random_state=seed).split(x, second, groups)
    made = Parallel(2, prefer="threads")(delayed(_fold)(x, second, *parts, params, seed) for parts in folds)
    scores = np.full(len(x), np.nan)
    for (_, held), found, _ in made:
        scores[held] = found
    gain = np.sum([gain for _, _, gain in made], axis=0)
    return Comparison(*auc(scores, second), scores, gain / max(gain.sum(), 1e-12))


def _fold(
    x: np.ndarray, second: np.ndarray, learn: np.ndarray, held: np.ndarray, params: ShiftParams, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    import lightgbm as lgb

    settings = {
        "objective": "binary",
        "learning_rate": 0.1,
        "num_leaves": 8,
        "min_data_in_leaf": max(2, min(20, len(learn) // 20)),
        "feature_fraction": 0.2,
        "lambda_l2": 5.0,
        "max_bin": 31,
        "is_unbalance": True,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    model = lgb.train(settings, lgb.Dataset(x[learn], second[learn].astype(int)), num_boost_round=params.rounds)
    return (learn, held), np.asarray(model.predict(x[held])), model.feature_importance("gain")


def auc(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float, float]:
    """Return the area under the ROC curve of scores (N,) with its 95 % interval (DeLong et al. 1988)."""
    a, b = scores[positive], scores[~positive]
    above = _placements(a, b)  # share of the negatives under each positive
    under = 1 - _placements(b, a)
    area = float(above.mean())
    error = np.sqrt(above.var(ddof=1) / len(a) + under.var(ddof=1) / len(b))
    return area, max(0.0, area - 1.96 * float(error)), min(1.0, area + 1.96 * float(error))


def _placements(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the share of `others` below each value; equal ones count half."""
    order = np.sort(others)
    return (np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right")) / (2 * len(others))
