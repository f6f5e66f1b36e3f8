"""lwlrap: label-weighted label-ranking average precision (Freesound Audio Tagging 2019).

For every true label, the share of true labels among the classes scored at least as high; mean over all true
labels. Ties count against the model, as in scikit-learn's `label_ranking_average_precision_score`.
"""

import numpy as np

from tonestack.metrics import indicator

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """lwlrap of scores (N, C); NaN if there is no true label at all."""
    positive = indicator(targets, scores.shape[1])
    clip, label = np.nonzero(positive)
    if not len(clip):
        return float("nan")
    ahead = scores[clip] >= scores[clip, label][:, None]  # (labels, C)
    precision = (ahead & positive[clip]).sum(axis=1) / np.maximum(ahead.sum(axis=1), 1)
    return float(precision.mean())
