"""lwlrap: label-weighted label-ranking average precision (Freesound Audio Tagging 2019).

For every true label, the share of true labels among the classes scored at least as high; mean over all true
labels, hence a mean over clips weighted by their number of labels. Ties count against the model, as in
scikit-learn's `label_ranking_average_precision_score` with those weights. A clip without any class has no weight; a
class without any clip only pushes others down. A class that is unknown of a clip does not stand in its ranking, and a
clip of which no absent class is known has no weight either, unless all its classes are true.
"""

from tonestack.tables.metrics import UNKNOWN, indicator, known

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None


def per_clip(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean precision at each clip's true labels, scores (..., N, C) -> (..., N); 0 for a clip without a label."""
    positive = indicator(targets, scores.shape[-1])
    clip, label = np.nonzero(positive)
    true = scores[..., clip, label]  # (..., labels)
    ahead = (scores[..., clip, :] >= true[..., None]) & known(targets, scores.shape[-1])[clip]  # (..., labels, C)
    hits = np.count_nonzero(ahead & positive[clip], axis=-1)
    precision = hits / np.maximum(np.count_nonzero(ahead, axis=-1), 1)
    count = np.count_nonzero(positive, axis=1)
    total = np.zeros(scores.shape[:-1])
    has = np.flatnonzero(count)
    if len(has):
        total[..., has] = np.add.reduceat(precision, np.cumsum(count[has]) - count[has], axis=-1)
    return total / np.maximum(count, 1)


def weights(targets: np.ndarray) -> np.ndarray:
    """Weight of each clip (N,): its number of true labels, if there is another class to rank them before."""
    if targets.ndim == 1:
        return np.ones(len(targets))
    ranked = (targets == 0).any(axis=1) | ~(targets == UNKNOWN).any(axis=1)
    return np.asarray(np.count_nonzero(targets > 0, axis=1) * ranked)
