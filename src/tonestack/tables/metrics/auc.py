"""AUC: area under the ROC curve, one class against the rest, mean over the classes that have both kinds.

A clip without any class is one of the rest; a class without any clip is left out.
"""

from tonestack.tables.metrics import indicator, known

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro AUC by the Mann-Whitney statistic, ties counted half; NaN if no class has both kinds, or a score is NaN."""
    values, kept = _areas(scores, targets)
    return float(values[kept].mean()) if kept.any() else float("nan")


def by_class(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """AUC of each class (C,), NaN where it has not both kinds."""
    return _areas(scores, targets)[0]


def _areas(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC of each class (C,), and which classes have both kinds."""
    positive, counted = indicator(targets, scores.shape[1]), known(targets, scores.shape[1])
    n_positive = positive.sum(axis=0)
    kept = (n_positive > 0) & (n_positive < counted.sum(axis=0))
    values = np.full(scores.shape[1], np.nan)
    for c in np.flatnonzero(kept):
        values[c] = _area(scores[counted[:, c], c], scores[positive[:, c], c])
    return values, kept


def _area(every: np.ndarray, positive: np.ndarray) -> float:
    """AUC of one class from the scores of all clips and of its own, which are few: no clip but these needs its rank."""
    ordered, count = np.sort(every), len(positive)
    if np.isnan(ordered[-1]):
        return float("nan")
    below, up_to = (np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    ranks = (below + up_to + 1).sum() / 2  # of equal scores their mean rank, from 1
    return float((ranks - count * (count + 1) / 2) / (count * (len(every) - count)))
