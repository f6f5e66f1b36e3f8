"""Brier score: squared error of the probabilities; over independent labels, the mean over the classes."""

from tonestack.tables.metrics import indicator

import numpy as np

GREATER_IS_BETTER = False
DEFAULT_K = None


def per_clip(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Error of each clip; rows of `scores` (..., N, C) are normalised where there is one label per clip.

    With one label the classes' errors are summed, halved for two classes, as in scikit-learn's `brier_score_loss`.
    """
    classes = scores.shape[-1]
    if targets.ndim == 2:
        return ((scores - indicator(targets, classes)) ** 2).mean(axis=-1)
    error = scores / scores.sum(axis=-1, keepdims=True) - indicator(targets, classes)
    return (error**2).sum(axis=-1) / (2 if classes == 2 else 1)
