"""Balanced accuracy: recall of each class, mean over the classes that have a true clip (DCASE scene tasks)."""

from tonestack.tables.metrics import class_index
from tonestack.tables.predicted_labels import confusion

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
TRUTH = ("one label per clip",)
DECIDES = {TRUTH[0]: "best"}


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean recall; NaN if there is no clip."""
    counts = confusion(scores, class_index(targets))
    true = counts.sum(axis=1)
    recall = counts.diagonal()[true != 0] / true[true != 0]
    return float(recall.mean()) if len(recall) else float("nan")
