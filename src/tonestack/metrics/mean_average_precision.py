"""mAP: average precision of each class over all clips, mean over the classes that have a true clip."""

import numpy as np
from sklearn.metrics import average_precision_score

from tonestack.metrics import indicator

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro average precision of scores (N, C); NaN if no class has a true clip."""
    positive = indicator(targets, scores.shape[1])
    kept = positive.any(axis=0)
    if not kept.any():
        return float("nan")
    return float(average_precision_score(positive[:, kept], scores[:, kept], average="macro"))
