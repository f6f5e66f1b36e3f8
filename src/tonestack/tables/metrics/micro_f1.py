"""Micro F1: one F1 over all pairs of a clip and a class.

A clip without any class and a class without any clip count where something is predicted of them.
"""

from tonestack.tables.metrics import indicator, known
from tonestack.tables.predicted_labels import best, likely

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """F1 of the labels; NaN if no label is true or predicted."""
    predicted = (likely(scores) if targets.ndim == 2 else best(scores)) * known(targets, scores.shape[1])
    true = indicator(targets, scores.shape[1])
    either = predicted.sum() + true.sum()
    return float(2 * (predicted * true).sum() / either) if either else float("nan")
