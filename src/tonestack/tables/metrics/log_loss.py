"""Log loss: cross-entropy in nats; over independent labels, the mean binary cross-entropy of the classes.

Of several labels, every clip and every class counts, with or without a label; the mean is one over known cells.
"""

from tonestack.tables.metrics import known, known_cells

import numpy as np

GREATER_IS_BETTER = False
DEFAULT_K = None
FLOOR = float(np.finfo(np.float32).eps)  # as scikit-learn clips float32: a zero costs 15.9 nats, not infinity


def per_clip(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Loss of each clip; rows of `scores` (..., N, C) are normalised where there is one label per clip."""
    if targets.ndim == 2:
        p = np.clip(scores, FLOOR, 1 - FLOOR)
        return mean_of_known(-np.where(targets > 0, np.log(p), np.log1p(-p)), targets)
    index = targets.reshape((1,) * (scores.ndim - 2) + (-1, 1))
    true = np.take_along_axis(scores, index, axis=-1)[..., 0]
    return -np.log(np.clip(true / scores.sum(axis=-1), FLOOR, 1.0))


def weights(targets: np.ndarray) -> np.ndarray | None:
    """Weight of each clip (N,): its number of known cells; None where all are known."""
    return known_cells(targets)


def mean_of_known(each: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean (..., N) of each clip's values (..., N, C) over its known cells; 0 where it has none."""
    cells = known_cells(targets)
    if cells is None:
        return np.asarray(each.mean(axis=-1))
    return np.where(known(targets, each.shape[-1]), each, 0).sum(axis=-1) / np.maximum(cells, 1)
