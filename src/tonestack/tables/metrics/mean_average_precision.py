"""mAP: average precision of each class over all clips, mean over the classes that have a true clip.

Equal scores share one threshold, as in scikit-learn's `average_precision_score`. A clip without any class is a false
hit of every class; a class without any clip is left out.
"""

from tonestack.tables.metrics import indicator, known

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro average precision of scores (N, C); NaN if no class has a true clip."""
    values = by_class(scores, targets)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def by_class(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Average precision of each class (C,), NaN where it has no true clip."""
    positive, counted = indicator(targets, scores.shape[1]), known(targets, scores.shape[1])
    columns = range(scores.shape[1])
    return np.array([_of_class(scores[counted[:, c], c], scores[positive[:, c], c]) for c in columns])


def _of_class(every: np.ndarray, positive: np.ndarray) -> float:
    """Average precision from the scores of all clips and of the class's own, whose ranks suffice; NaN without any."""
    if not len(positive):
        return float("nan")
    reached = len(every) - np.searchsorted(np.sort(every), positive)  # clips scored at least as high
    found = len(positive) - np.searchsorted(np.sort(positive), positive)
    return float((found / reached).mean())
