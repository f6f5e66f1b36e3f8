"""Macro F1: F1 of each class, mean over the classes that are true or predicted anywhere.

A clip without any class counts where a class is predicted; a class neither true nor predicted is left out.
"""

from tonestack.tables.metrics import KINDS, indicator, known
from tonestack.tables.predicted_labels import best, likely

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
DECIDES = {KINDS[0]: "best", KINDS[1]: "classes"}


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean F1 of the labels; NaN if no label is true or predicted."""
    predicted = (likely(scores) if targets.ndim == 2 else best(scores)) * known(targets, scores.shape[1])
    true = indicator(targets, scores.shape[1])
    return float(of_counts((predicted * true).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0), true.sum(axis=0)))


def of_counts(hit: np.ndarray, predicted: np.ndarray, true: np.ndarray, known: np.ndarray) -> float:
    """Macro F1 of the classes' counts (C,): true and predicted, predicted, true, known clips."""
    either = predicted + true
    values = 2 * hit[either != 0] / either[either != 0]
    return float(values.mean()) if len(values) else float("nan")
