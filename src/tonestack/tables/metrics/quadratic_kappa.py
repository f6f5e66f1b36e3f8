"""Quadratic weighted kappa: agreement beyond chance; a mistake costs the square of the distance of class indices."""

from tonestack.tables.metrics import class_index
from tonestack.tables.predicted_labels import confusion

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
TRUTH = ("one label per clip",)
DECIDES = {TRUTH[0]: "best"}


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Kappa of the best classes; NaN if chance makes no mistake (one class alone is true and predicted)."""
    counts = confusion(scores, class_index(targets))
    index = np.arange(len(counts))
    cost = (index[:, None] - index) ** 2
    chance = counts.sum(axis=1) @ cost @ counts.sum(axis=0)
    return float(1 - (cost * counts).sum() * counts.sum() / chance) if chance else float("nan")
