"""Micro F1: one F1 over all pairs of a clip and a class.

A clip without any class and a class without any clip count where something is predicted of them.
"""

from tonestack.tables.metrics import KINDS, indicator, known
from tonestack.tables.predicted_labels import best, likely

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
DECIDES = {KINDS[1]: "classes"}


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """F1 of the labels; NaN if no label is true or predicted."""
    predicted = (likely(scores) if targets.ndim == 2 else best(scores)) * known(targets, scores.shape[1])
    true = indicator(targets, scores.shape[1])
    return of_counts((predicted * true).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0), true.sum(axis=0))


def of_counts(hit: np.ndarray, predicted: np.ndarray, true: np.ndarray, known: np.ndarray) -> float:
    """Micro F1 of the classes' counts (C,): true and predicted, predicted, true, known clips."""
    either = predicted.sum() + true.sum()
    return float(2 * hit.sum() / either) if either else float("nan")
