"""Inputs and training rows of a stacker: a second model on the OOF rows of the first models.

Every stacker starts from the blend of least log loss (a log-linear pool of the tables, fitted on its training rows)
and learns corrections to it. An inner split decides how large they are; with nothing to learn the stacker stays that
blend. Its own predictions are nested: the stacker of fold k is trained on the rows of the other folds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tonestack.base.errors import UserError
from tonestack.ensemble import resampling
from tonestack.ensemble.blends import row_normal
from tonestack.ensemble.searches.log_loss import loss_and_slope
from tonestack.tables.metrics import UNKNOWN, cells, indicator
from tonestack.tables.oof import FLOOR

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

DOUBT = np.float32(1e-4)  # least probability in the logs: smaller ones add variance, not information


@dataclass(frozen=True)
class StackInputs:
    """The inputs of a stacker for N clips: logs (M, N, C), and further columns (N, E).

    logs: log probabilities, or log odds if the classes are `independent` (several labels per clip). around: what the
    other windows of a recording say (N, A, C), see `neighbours.around`; None where clips are no windows.
    """

    logs: np.ndarray
    extras: np.ndarray
    independent: bool = False
    around: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        tables: np.ndarray,
        statistics: np.ndarray | None = None,
        independent: bool = False,
        around: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> "StackInputs":
        """From tables (M, N, C); further columns: entropies, top-two margins, agreement, statistics (N, S) if given.

        around: turns the tables' mean logs (N, C) into what other windows say (N, A, C).
        """
        if independent:
            p = np.clip(tables, DOUBT, 1 - DOUBT)
            logs = np.log(p) - np.log1p(-p)
            entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p)).sum(axis=2)  # (M, N), nats
        else:
            p = np.maximum(row_normal(tables), np.float32(FLOOR))
            logs = np.log(np.maximum(p, DOUBT))
            entropy = -(p * np.log(p)).sum(axis=2)
        two = np.partition(p, -2, axis=2)[:, :, -2:] if p.shape[2] > 1 else np.concatenate([1 - p, p], axis=2)
        margin = two[:, :, 1] - two[:, :, 0]
        best = p.argmax(axis=2)
        agree = (best[:, None] == best[None]).mean(axis=(0, 1))[:, None]  # (N, 1), share of pairs of models
        columns = [entropy.T, margin.T, agree] + ([statistics] if statistics is not None else [])
        others = None if around is None else around(logs.mean(axis=0)).astype(np.float32)
        return cls(logs, np.concatenate(columns, axis=1, dtype=np.float32), independent, others)

    def where(self, keep: np.ndarray) -> "StackInputs":
        """Some of the clips."""
        around = None if self.around is None else self.around[keep]
        return StackInputs(self.logs[:, keep], self.extras[keep], self.independent, around)

    @property
    def columns(self) -> np.ndarray:
        """One row per clip: mean logs, every model's difference from them, the extras, what others say; (N, F)."""
        mean = self.logs.mean(axis=0)
        apart = (self.logs - mean).transpose(1, 0, 2).reshape(len(mean), -1) if len(self.logs) > 1 else mean[:, :0]
        others = [] if self.around is None else [self.around.reshape(len(mean), -1)]
        return np.concatenate([mean, apart, self.extras, *others], axis=1, dtype=np.float32)

    def columns_of(self, label: int) -> np.ndarray:
        """Columns for one class: all mean logs, every model's difference for this one, the extras, what others say."""
        mean = self.logs.mean(axis=0)
        apart = (self.logs[:, :, label] - mean[:, label]).T
        others = [] if self.around is None else [self.around[:, :, label]]
        return np.concatenate([mean, apart, self.extras, *others], axis=1, dtype=np.float32)


class FittedStacker(Protocol):
    """A fitted stacker: inputs of R clips -> probabilities (R, C)."""

    def __call__(self, inputs: StackInputs) -> np.ndarray: ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that `restore` reads back."""


@dataclass(frozen=True)
class StackRows:
    """Training rows of a stacker: inputs of R clips, targets, weights (R,), folds (R,).

    targets: class indices (R,), or 0, 1 and `UNKNOWN` (R, C) if the classes are independent; the latter count nothing.
    groups (R,): None where none are known.
    """

    inputs: StackInputs
    targets: np.ndarray
    weights: np.ndarray
    fold: np.ndarray
    classes: int
    groups: np.ndarray | None = None

    def where(self, keep: np.ndarray) -> "StackRows":
        """Some of the rows."""
        own = self.inputs.where(keep), self.targets[keep], self.weights[keep], self.fold[keep]
        return StackRows(*own, self.classes, None if self.groups is None else self.groups[keep])

    @property
    def sure(self) -> np.ndarray:
        """Mask of the rows whose labels are trusted most."""
        return np.asarray(self.weights >= self.weights.max())

    @property
    def truth(self) -> np.ndarray:
        """True classes of each clip, as a mask (R, C)."""
        return indicator(self.targets, self.classes)

    @property
    def known(self) -> np.ndarray:
        """Mask (R, C) of the cells that count."""
        return cells(self.targets, self.classes) != UNKNOWN

    def losses(self, q: np.ndarray) -> np.ndarray:
        """Log loss of each clip (R,) for probabilities q (R, C); independent classes add up."""
        if self.inputs.independent:
            return self.cell_losses(q).sum(axis=1)
        return -np.log(np.maximum(q[np.arange(len(q)), self.targets], 1e-15))

    def cell_losses(self, q: np.ndarray) -> np.ndarray:
        """Log loss of each clip and independent class (R, C), 0 where the class is unknown."""
        q = np.clip(q, 1e-7, 1 - 1e-7)
        return np.where(self.known, -np.where(self.truth, np.log(q), np.log1p(-q)), 0)

    def errors(self, q: np.ndarray) -> np.ndarray:
        """Probabilities q (R, C) less the truth: the slope of the log loss by the logits, 0 where unknown."""
        return np.where(self.known, q - self.truth, 0).astype(q.dtype, copy=False)


def pool(rows: StackRows) -> np.ndarray:
    """Weights (M,) of the log-linear pool of least log loss on the trusted rows; their sum is its sharpness."""
    sure = rows.where(rows.sure)
    truth, logs = sure.truth, np.ascontiguousarray(sure.inputs.logs)
    count = len(logs)
    start = np.full(count, 1 / count)

    def of_odds(v: np.ndarray) -> tuple[float, np.ndarray]:
        q = expit(np.tensordot(v.astype(np.float32), logs, axes=1))
        slope = np.tensordot(logs, sure.errors(q), axes=([1, 2], [0, 1])) / len(truth)
        return float(sure.losses(q).mean(dtype=np.float64)), slope.astype(np.float64)

    found = minimize(
        of_odds if rows.inputs.independent else lambda v: loss_and_slope(v, logs, truth, 0.0, True),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 10)] * count,
    )
    return np.asarray(found.x if found.x.any() else start, dtype=np.float32)


def pooled(weights: np.ndarray, inputs: StackInputs) -> np.ndarray:
    """Return logits (N, C) of the pool; rows are normalised if a clip has one label."""
    total = np.tensordot(weights, inputs.logs, axes=1)
    if inputs.independent:
        return total
    return (
        total
        - np.log(np.exp(total - total.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        - total.max(axis=1, keepdims=True)
    )


def probabilities(logits: np.ndarray, independent: bool) -> np.ndarray:
    """Softmax of rows, or the sigmoid of every logit where the classes are independent; float32."""
    if independent:
        return expit(logits).astype(np.float32)
    return row_normal(np.exp(logits - logits.max(axis=1, keepdims=True))).astype(np.float32)


def inner_split(rows: StackRows, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (learn, stop) inside the training rows: one fold where there are several, else a random fifth.

    A random fifth consists of whole groups where more than one is there. Only trusted rows decide when to stop.
    Without a row nothing can be learnt: `UserError`.
    """
    if not len(rows.fold):
        raise UserError(resampling.ONE_FOLD)
    folds = np.unique(rows.fold)
    if len(folds) > 1:
        held = rows.fold == folds[seed % len(folds)]
    elif rows.groups is not None and len(np.unique(rows.groups)) > 1:
        held = resampling.share(rows.groups, seed)
    else:
        held = np.random.default_rng(seed).random(len(rows.fold)) < 0.2
    stop = held & rows.sure
    return ~held, stop if stop.any() else held
