"""Brier score: squared error of the probabilities; over independent labels, the mean over the classes.

Of several labels, every clip and every class counts, with or without a label; the mean is one over known cells.
"""

from tonestack.tables.metrics import indicator
from tonestack.tables.metrics.log_loss import mean_of_known, weights

import numpy as np

__all__ = ["per_clip", "weights"]

GREATER_IS_BETTER = False
DEFAULT_K = None


def per_clip(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Error of each clip; rows of `scores` (..., N, C) are normalised where there is one label per clip.

    With one label the classes' errors are summed, halved for two classes, as in scikit-learn's `brier_score_loss`.
    """
    classes = scores.shape[-1]
    if targets.ndim == 2:
        return mean_of_known((scores - indicator(targets, classes)) ** 2, targets)
    error = scores / scores.sum(axis=-1, keepdims=True) - indicator(targets, classes)
    return (error**2).sum(axis=-1) / (2 if classes == 2 else 1)
