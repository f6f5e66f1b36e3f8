"""Metrics found by name, with `@k` where one is cut at k: `map@3`, `top@5`, `accuracy`, `lwlrap`.

A metric file defines `GREATER_IS_BETTER`, `DEFAULT_K` (None: no k) and one of
`of_rank(rank, k) -> (..., N)`, which needs only the true class's rank; `per_clip(scores, targets) -> (..., N)`,
a mean over clips (by `weights(targets) -> (N,)` if the file defines them); or `overall(scores, targets) -> float`,
for what has no value per clip (`overall(scores, targets, k)` if there is a k). One that is a mean over classes may also
define `by_class(scores, targets) -> (C,)` (with k, if there is one), NaN for classes that it leaves out.

`TRUTH` names the kinds of truth that the metric takes, of `KINDS`; a file without it takes one or several labels.
`DECIDES` says of metrics of predicted labels what they are a function of, by kind of truth (`tables/thresholds.py`);
`classes` and `rows` are reckoned by `of_counts(hit, predicted, true, known)` from counts by class or by clip.
Where a clip may have several, a cell of the targets may be `UNKNOWN`: metrics leave it out. Each file says what a clip
without any class and a class without any clip count.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import ModuleType

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.tables.label_grammar import UNKNOWN

import numpy as np

KINDS = ("one label per clip", "several labels per clip", "trials")


@dataclass(frozen=True)
class Metric:
    """One metric, ready to use on scores (..., N, C) and targets (N,) class indices or (N, C) of 0, 1 and `UNKNOWN`."""

    name: str
    k: int
    module: ModuleType

    @property
    def greater_is_better(self) -> bool:
        """True if larger values are better."""
        return bool(self.module.GREATER_IS_BETTER)

    @property
    def sign(self) -> float:
        """+1 where larger is better, else -1: `sign * value` is always to be maximised."""
        return 1.0 if self.greater_is_better else -1.0

    @property
    def ranked(self) -> bool:
        """True if the metric depends on the rank of the true class alone, so that scores need no calibration."""
        return hasattr(self.module, "of_rank")

    @property
    def truth(self) -> tuple[str, ...]:
        """The kinds of truth that the metric takes."""
        return tuple(getattr(self.module, "TRUTH", KINDS[:2]))

    @property
    def decomposes(self) -> bool:
        """True if the metric is a mean over clips."""
        return self.ranked or hasattr(self.module, "per_clip")

    def decides(self, one_label: bool) -> str:
        """What a metric of predicted labels is a function of: classes, rows or best; empty: it needs no threshold."""
        return str(getattr(self.module, "DECIDES", {}).get(KINDS[0] if one_label else KINDS[1], ""))

    def of_rank(self, rank: np.ndarray) -> np.ndarray:
        """Per-clip values from ranks of the true class (1 is best), any shape."""
        return self.module.of_rank(rank, self.k)

    def per_clip(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Values per clip (..., N); a `TypeError` for a metric that is no mean over clips."""
        if self.ranked:
            return self.of_rank(true_rank(scores, class_index(targets)))
        if not self.decomposes:
            raise TypeError(f"{self.name} has no value per clip")
        return self.module.per_clip(scores, targets)

    @property
    def compares_rows(self) -> bool:
        """True if the metric is a mean over classes, each of which compares the rows of all clips with one another."""
        return hasattr(self.module, "by_class")

    def by_class(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """Values per class (C,) of scores (N, C); None for a metric that is no mean over classes."""
        if not self.compares_rows:
            return None
        return np.asarray(self.module.by_class(scores, targets, *((self.k,) if self.k else ())))

    def weights(self, targets: np.ndarray) -> np.ndarray | None:
        """Weight of each clip in the mean (N,); None where all are equal."""
        return self.module.weights(targets) if hasattr(self.module, "weights") else None

    def __call__(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The metric over the N clips, (...): a 0-d array (use `float`) for one table, (B,) for B candidates."""
        if self.decomposes:
            return mean(self.per_clip(scores, targets), self.weights(targets))
        flat, cut = scores.reshape(-1, *scores.shape[-2:]), (self.k,) if self.k else ()
        values = [self.module.overall(s, targets, *cut) for s in flat]
        return np.asarray(values, dtype=np.float64).reshape(scores.shape[:-2])


def resolve(spec: str) -> Metric:
    """Find the metric called `spec`, such as `map@3`; an unknown name or a wrong k is a `UserError`."""
    name, at, k = str(spec).strip().lower().partition("@")
    module = parts.find("metrics", name)
    if module.DEFAULT_K is None:
        if at:
            raise UserError(f"metric '{spec}': {name} takes no @k; write '{name}'")
        return Metric(name, 0, module)
    if at and not re.fullmatch(r"[1-9]\d{0,5}", k):
        raise UserError(f"metric '{spec}': k must be a whole number from 1, such as '{name}@{module.DEFAULT_K}'")
    cut = int(k) if at else int(module.DEFAULT_K)
    return Metric(f"{name}@{cut}", cut, module)


def fitting(kind: str) -> list[str]:
    """Names of the metrics that take a kind of truth."""
    return [name for name in parts.names("metrics") if kind in resolve(name).truth]


def mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Mean of values (..., N) over clips by their weights (N,); NaN where no clip counts."""
    if weights is None:
        return np.asarray(values.mean(axis=-1, dtype=np.float64))
    total = weights.sum()
    return np.asarray(values @ weights / total if total else np.full(values.shape[:-1], np.nan))


def true_rank(scores: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rank of the true class, without sorting: 1 + classes scored higher + equal scores at a lower class index.

    scores (..., N, C), index (N,) -> (..., N) int. A value that cannot be compared (NaN) counts as scored higher,
    so that a broken table ranks last instead of first.
    """
    classes = scores.shape[-1]
    true = np.take_along_axis(scores, index.reshape((1,) * (scores.ndim - 2) + (-1, 1)), axis=-1)  # (..., N, 1)
    behind = np.arange(classes) > index[:, None]  # (N, C): an equal score there does not outrank the true class
    beaten = (scores < true) | ((scores == true) & behind)
    return classes - np.count_nonzero(beaten, axis=-1)


def class_index(targets: np.ndarray) -> np.ndarray:
    """Class indices (N,) from indices or one-hot rows; several labels in a row are a `UserError`."""
    if targets.ndim == 1:
        return targets
    if not (np.count_nonzero(targets, axis=1) == 1).all():
        raise UserError("this metric needs exactly one true label per clip; use lwlrap or mean_average_precision")
    return targets.argmax(axis=1)


def indicator(targets: np.ndarray, classes: int) -> np.ndarray:
    """Boolean matrix (N, C) from class indices (N,) or a matrix of 0/1; unknown cells are False."""
    return targets > 0 if targets.ndim == 2 else np.arange(classes) == targets[:, None]


def cells(targets: np.ndarray, classes: int) -> np.ndarray:
    """What a log loss is taken of: targets (N, C) of 0, 1 and `UNKNOWN` as they are, class indices (N,) as 0 and 1."""
    return targets if targets.ndim == 2 else indicator(targets, classes)


def known(targets: np.ndarray, classes: int) -> np.ndarray:
    """Boolean matrix (N, C) of the cells that metrics count."""
    return targets != UNKNOWN if targets.ndim == 2 else np.ones((len(targets), classes), dtype=bool)


def without(targets: np.ndarray, classes: Sequence[str], counted: Collection[str]) -> np.ndarray:
    """Targets in which only the classes `counted` count: the others are unknown, where a clip may have several."""
    silent = np.array([name not in counted for name in classes])
    if targets.ndim == 1 or len(silent) != targets.shape[1] or not silent.any():
        return targets
    return np.where(silent, UNKNOWN, targets)


def known_cells(targets: np.ndarray) -> np.ndarray | None:
    """The number of known cells of each clip (N,); None where all are known."""
    if targets.ndim == 1 or not (unknown := targets == UNKNOWN).any():
        return None
    return np.asarray(targets.shape[1] - np.count_nonzero(unknown, axis=1))
