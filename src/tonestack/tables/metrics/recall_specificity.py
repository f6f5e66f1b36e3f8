"""Mean of recall and specificity of each class at one half, mean over the classes that have both (BirdCLEF 2022).

A clip without any class counts for the specificities; a class without any clip is left out.
"""

from tonestack.tables.metrics import KINDS, indicator, known
from tonestack.tables.predicted_labels import likely

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
DECIDES = {KINDS[1]: "classes"}


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean over the classes with true and other clips; NaN if there is none."""
    true, counted = indicator(targets, scores.shape[1]), known(targets, scores.shape[1])
    predicted = likely(scores) * counted
    return of_counts((predicted * true).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0), counted.sum(axis=0))


def of_counts(hit: np.ndarray, predicted: np.ndarray, true: np.ndarray, known: np.ndarray) -> float:
    """The value of the classes' counts (C,): true and predicted, predicted, true, known clips."""
    negative = known - true
    kept = (true > 0) & (negative > 0)
    recall, specificity = hit[kept] / true[kept], 1 - (predicted - hit)[kept] / negative[kept]
    return float((recall + specificity).mean() / 2) if kept.any() else float("nan")
