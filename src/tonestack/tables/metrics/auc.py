"""AUC: area under the ROC curve, one class against the rest, mean over the classes that have both kinds."""

from tonestack.tables.metrics import indicator

import numpy as np
from scipy.stats import rankdata

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro AUC by the Mann-Whitney statistic, ties counted half; NaN if no class has both kinds."""
    positive = indicator(targets, scores.shape[1])
    n_positive = positive.sum(axis=0)
    n_negative = len(scores) - n_positive
    kept = (n_positive > 0) & (n_negative > 0)
    ranks = (rankdata(scores[:, kept], axis=0) * positive[:, kept]).sum(axis=0)
    areas = (ranks - n_positive[kept] * (n_positive[kept] + 1) / 2) / (n_positive[kept] * n_negative[kept])
    return float(areas.mean()) if kept.any() else float("nan")
