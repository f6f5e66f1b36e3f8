"""Multi-label tagging: any number of the classes may be true of a clip. Sigmoid outputs, one probability per class."""

from typing import TYPE_CHECKING

from tonestack.tasks import Task

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor

SEPARATOR = ","


class Multilabel(Task):
    """Labels are text such as `Bark,Meow`."""

    name = "multilabel"
    metrics = ("mean_average_precision", "auc", "log_loss")
    loss = "bce"
    one_label = False

    def label_lists(self, labels: pd.Series) -> pd.Series:
        """Split at the commas."""
        return labels.astype(str).str.split(SEPARATOR)

    def truth(self, targets: np.ndarray) -> np.ndarray:
        """Rows of 0 and 1 (n, C); a soft target counts from a half."""
        return (targets >= 0.5).astype(np.int8)

    def labels_of(self, probabilities: np.ndarray, classes: tuple[str, ...]) -> list[str]:
        """Every class from a half on, the likeliest where there is none."""
        there = probabilities >= 0.5
        there[np.arange(len(there)), probabilities.argmax(axis=1)] = True
        return [SEPARATOR.join(np.array(classes)[row]) for row in there]

    def log_probabilities(self, logits: "Tensor") -> "Tensor":
        """Turn logits (B, C) into log-probabilities, each class on its own."""
        return logits.clamp(max=0) - (-logits.abs()).exp().log1p()

    def probabilities(self, logs: np.ndarray) -> np.ndarray:
        """Turn log-probabilities into probabilities (..., C)."""
        return np.exp(np.minimum(logs, 0.0))


TASK = Multilabel()
