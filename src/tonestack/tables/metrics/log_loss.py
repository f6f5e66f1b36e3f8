"""Log loss: cross-entropy in nats; over independent labels, the mean binary cross-entropy of the classes."""

import numpy as np

GREATER_IS_BETTER = False
DEFAULT_K = None
FLOOR = float(np.finfo(np.float32).eps)  # as scikit-learn clips float32: a zero costs 15.9 nats, not infinity


def per_clip(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Loss of each clip; rows of `scores` (..., N, C) are normalised where there is one label per clip."""
    if targets.ndim == 2:
        p = np.clip(scores, FLOOR, 1 - FLOOR)
        return -np.where(targets > 0, np.log(p), np.log1p(-p)).mean(axis=-1)
    index = targets.reshape((1,) * (scores.ndim - 2) + (-1, 1))
    true = np.take_along_axis(scores, index, axis=-1)[..., 0]
    return -np.log(np.clip(true / scores.sum(axis=-1), FLOOR, 1.0))
