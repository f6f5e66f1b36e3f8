"""Row-wise F1 of label sets, mean over clips (Cornell Birdcall 2020, BirdCLEF 2021).

A class is predicted from a probability of one half on. An empty set is the set {nothing}: a clip without any class
scores 1 where none is predicted, else 0. A class without any clip counts where it is predicted.
"""

from tonestack.tables.metrics import KINDS, indicator, known, known_cells
from tonestack.tables.predicted_labels import likely

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
DECIDES = {KINDS[1]: "rows"}


def per_clip(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 of each clip's predicted and true set, scores (..., N, C) -> (..., N); 1 where both are empty."""
    predicted = likely(scores) * known(targets, scores.shape[-1])
    true = indicator(targets, scores.shape[-1])
    count = true.sum(axis=-1)
    return of_counts((predicted * true).sum(axis=-1), predicted.sum(axis=-1), count, count)


def of_counts(hit: np.ndarray, predicted: np.ndarray, true: np.ndarray, known: np.ndarray) -> np.ndarray:
    """F1 of each clip from its counts (..., N): true and predicted, predicted, true, known classes."""
    either = predicted + true
    return np.where(either == 0, 1.0, 2 * hit / np.where(either == 0, 1, either))


def weights(targets: np.ndarray) -> np.ndarray | None:
    """Weight of each clip (N,): 0 where nothing is known of it; None where all are equal."""
    cells = known_cells(targets)
    return None if cells is None else (cells > 0).astype(np.float64)
