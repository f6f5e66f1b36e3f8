"""Single-label classification: tagging, speaker identification, stories. Softmax outputs."""

from typing import TYPE_CHECKING

from tonestack.base.errors import UserError

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor


METRICS = ("log_loss",)  # said of every fold beside the competition's own
LOSS = "cross_entropy"  # of a model config that names none


def targets(labels: pd.Series, classes: tuple[str, ...]) -> np.ndarray:
    """Encode labels as one-hot rows (n, C); a label that is no class is refused, naming it."""
    codes = pd.Index(list(classes)).get_indexer(pd.Index(labels))
    if (codes < 0).any():
        raise UserError(f"label '{labels.to_numpy()[codes < 0][0]}' is not among the {len(classes)} classes")
    return np.eye(len(classes), dtype=np.float32)[codes]


def truth(targets: np.ndarray) -> np.ndarray:
    """Class indices (n,) of one-hot rows (n, C), as metrics take them."""
    return targets.argmax(axis=1)


def names(probabilities: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """The label that each row (n, C) says: the likeliest class."""
    return [classes[best] for best in probabilities.argmax(axis=1)]


def log_probabilities(logits: "Tensor") -> "Tensor":
    """Turn logits (B, C) into log-probabilities."""
    return logits.log_softmax(dim=1)


def probabilities(logs: np.ndarray) -> np.ndarray:
    """Turn log-probabilities, known up to a constant a row, into rows (..., C) that sum to one."""
    likelihood = np.exp(logs - logs.max(axis=-1, keepdims=True))  # the likeliest is 1: no row underflows to 0 / 0
    shares: np.ndarray = likelihood / likelihood.sum(axis=-1, keepdims=True)
    return shares
