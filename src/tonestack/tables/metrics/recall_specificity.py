"""Mean of recall and specificity of each class at one half, mean over the classes that have both (BirdCLEF 2022).

A clip without any class counts for the specificities; a class without any clip is left out.
"""

from tonestack.tables.metrics import indicator, known
from tonestack.tables.predicted_labels import likely

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean over the classes with true and other clips; NaN if there is none."""
    predicted, true = likely(scores), indicator(targets, scores.shape[1])
    false = known(targets, scores.shape[1]) & ~true
    positive, negative = true.sum(axis=0), false.sum(axis=0)
    kept = (positive > 0) & (negative > 0)
    recall = (predicted * true).sum(axis=0)[kept] / positive[kept]
    specificity = ((1 - predicted) * false).sum(axis=0)[kept] / negative[kept]
    return float((recall + specificity).mean() / 2) if kept.any() else float("nan")
