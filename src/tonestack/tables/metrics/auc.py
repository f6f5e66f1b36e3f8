"""AUC: area under the ROC curve, one class against the rest, mean over the classes that have both kinds.

A clip without any class is one of the rest; a class without any clip is left out.
"""

from tonestack.tables.metrics import indicator, known

import numpy as np
from scipy.stats import rankdata

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro AUC by the Mann-Whitney statistic, ties counted half; NaN if no class has both kinds."""
    positive, counted = indicator(targets, scores.shape[1]), known(targets, scores.shape[1])
    n_positive, n_known = positive.sum(axis=0), counted.sum(axis=0)
    n_negative = n_known - n_positive
    kept = (n_positive > 0) & (n_negative > 0)
    below = np.where(counted, scores, -np.inf)[:, kept]  # unknown clips stand first and are taken off again
    ranks = ((rankdata(below, axis=0) - (len(scores) - n_known[kept])) * positive[:, kept]).sum(axis=0)
    areas = (ranks - n_positive[kept] * (n_positive[kept] + 1) / 2) / (n_positive[kept] * n_negative[kept])
    return float(areas.mean()) if kept.any() else float("nan")
