"""Padded cmAP: mAP after k rows of ones are appended to truth and predictions (BirdCLEF 2023, k = 5).

A clip without any class is a false hit of every class. A class without any clip has the rows of ones alone and scores
1, as long as none of its predictions reaches 1.
"""

from tonestack.tables.metrics import cells, mean_average_precision

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = 5


def overall(scores: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Macro average precision of scores (N + k, C), where every class has a true clip; NaN if a score is NaN."""
    return float("nan") if np.isnan(scores).any() else float(by_class(scores, targets, k).mean())


def by_class(scores: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Average precision of each class (C,), the rows of ones included."""
    ones = np.ones((k, scores.shape[1]), dtype=scores.dtype)
    truth = np.vstack([cells(targets, scores.shape[1]), ones])
    return mean_average_precision.by_class(np.vstack([scores, ones]), truth)
