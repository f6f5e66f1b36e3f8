"""Micro F1: one F1 over all pairs of a clip and a class."""

from tonestack.tables.metrics import indicator
from tonestack.tables.predicted_labels import best, likely

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """F1 of the labels; NaN if no label is true or predicted."""
    predicted = likely(scores) if targets.ndim == 2 else best(scores)
    true = indicator(targets, scores.shape[1])
    either = predicted.sum() + true.sum()
    return float(2 * (predicted * true).sum() / either) if either else float("nan")
