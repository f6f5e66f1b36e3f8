"""Matthews correlation coefficient, for any number of classes (Gorodkin 2004)."""

from tonestack.tables.metrics import class_index
from tonestack.tables.predicted_labels import confusion

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
TRUTH = ("one label per clip",)
DECIDES = {TRUTH[0]: "best"}


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Correlation of true and best classes; 0 if all clips are of one class or all predictions are."""
    counts = confusion(scores, class_index(targets))
    true, predicted, n = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    spread = np.sqrt((n**2 - true @ true) * (n**2 - predicted @ predicted))
    return float((counts.trace() * n - true @ predicted) / spread) if spread else 0.0
