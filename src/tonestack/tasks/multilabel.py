"""Multi-label tagging: any number of the classes may be true of a clip. Sigmoid outputs, one probability a class."""

from typing import TYPE_CHECKING

from tonestack.base.errors import UserError

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor


METRICS = ("mean_average_precision", "auc", "log_loss")  # said of every fold beside the competition's own
LOSS = "bce"  # of a model config that names none
SEPARATOR = ","


def label_lists(labels: pd.Series) -> pd.Series:
    """The single labels of every clip, from text such as `Bark,Meow`."""
    return labels.astype(str).str.split(SEPARATOR)


def targets(labels: pd.Series, classes: tuple[str, ...]) -> np.ndarray:
    """Encode comma-separated labels as rows of 0 and 1 (n, C); a label that is no class is refused, naming it."""
    single = label_lists(labels).reset_index(drop=True).explode()
    codes = pd.Index(list(classes)).get_indexer(pd.Index(single))
    if (codes < 0).any():
        raise UserError(f"label '{single.to_numpy()[codes < 0][0]}' is not among the {len(classes)} classes")
    rows = np.zeros((len(labels), len(classes)), dtype=np.float32)
    rows[single.index.to_numpy(), codes] = 1
    return rows


def truth(targets: np.ndarray) -> np.ndarray:
    """Rows of 0 and 1 (n, C), as metrics take them; a soft target counts from a half."""
    return (targets >= 0.5).astype(np.int8)


def names(probabilities: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """The labels that each row (n, C) says: every class from a half on, the likeliest where there is none."""
    there = probabilities >= 0.5
    there[np.arange(len(there)), probabilities.argmax(axis=1)] = True
    return [SEPARATOR.join(np.array(classes)[row]) for row in there]


def log_probabilities(logits: "Tensor") -> "Tensor":
    """Turn logits (B, C) into log-probabilities, each class on its own."""
    return logits.clamp(max=0) - (-logits.abs()).exp().log1p()


def probabilities(logs: np.ndarray) -> np.ndarray:
    """Turn log-probabilities into probabilities (..., C)."""
    return np.exp(np.minimum(logs, 0.0))
