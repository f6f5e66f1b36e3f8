"""mAP: average precision of each class over all clips, mean over the classes that have a true clip.

Equal scores share one threshold, as in scikit-learn's `average_precision_score`; all classes are sorted at once. A
clip without any class is a false hit of every class; a class without any clip is left out.
"""

from tonestack.tables.metrics import indicator, known

import numpy as np
from scipy.stats import rankdata

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro average precision of scores (N, C); NaN if no class has a true clip."""
    values = by_class(scores, targets)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def by_class(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Average precision of each class (C,), NaN where it has no true clip."""
    positive = indicator(targets, scores.shape[1])
    scores = np.where(known(targets, scores.shape[1]), scores, -np.inf)  # unknown clips come last, ahead of no true one
    order = np.argsort(-scores, axis=0, kind="stable")
    found = np.cumsum(np.take_along_axis(positive, order, axis=0), axis=0)  # (N, C), best first
    ranked = rankdata(-scores, method="max", axis=0).astype(np.int64)  # clips scored at least as high
    precision = np.take_along_axis(found, ranked - 1, axis=0) / ranked
    count = positive.sum(axis=0)
    return np.where(count > 0, (precision * positive).sum(axis=0) / np.maximum(count, 1), np.nan)
