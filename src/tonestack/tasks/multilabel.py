"""Multi-label tagging: any number of the classes may be true of a clip. Sigmoid outputs, one probability per class."""

from typing import TYPE_CHECKING

from tonestack.tables import label_grammar
from tonestack.tasks import Task

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor


class Multilabel(Task):
    """Labels are cells of `tables/label_grammar.py` such as `Bark,Meow:0.5`; an empty one: nothing is there."""

    name = "multilabel"
    metrics = ("mean_average_precision", "auc", "log_loss")
    loss = "bce"
    one_label = False

    def label_lists(self, labels: pd.Series) -> pd.Series:
        """The classes that count as there: no class of a weight under a half, none that is unknown."""
        return labels.astype(str).map(label_grammar.present)

    def strata(self, labels: pd.Series) -> pd.Series:
        """What folds are stratified by; clips with nothing are a stratum of their own."""
        return labels.astype(str).map(label_grammar.strata)

    def targets(self, labels: pd.Series, classes: tuple[str, ...]) -> np.ndarray:
        """Weights (n, C) float32, NaN where a class is unknown; a label outside the classes is a `UserError`."""
        return label_grammar.encode(labels, classes)

    def truth(self, targets: np.ndarray) -> np.ndarray:
        """Rows (n, C) of 0 and 1, a soft target counts from a half; `label_grammar.UNKNOWN` where it is NaN."""
        return label_grammar.truth(targets)

    def labels_of(self, probabilities: np.ndarray, classes: tuple[str, ...]) -> list[str]:
        """Every class from a half on, the likeliest where there is none."""
        there = probabilities >= label_grammar.PRESENT
        there[np.arange(len(there)), probabilities.argmax(axis=1)] = True
        names = np.array(classes)
        return [label_grammar.SEPARATOR.join(names[row]) for row in there]

    def log_probabilities(self, logits: "Tensor") -> "Tensor":
        """Turn logits (B, C) into log-probabilities, each class on its own."""
        return logits.clamp(max=0) - (-logits.abs()).exp().log1p()

    def probabilities(self, logs: np.ndarray) -> np.ndarray:
        """Turn log-probabilities into probabilities (..., C)."""
        return np.exp(np.minimum(logs, 0.0))


TASK = Multilabel()
