"""Thresholds: from which probability on a class counts as predicted, found on OOF rows.

Metrics of predicted labels decide at one half; `DECIDES` in their file says by kind of truth what they are a function
of. Scores are moved so that a threshold comes to lie at one half: metrics, submissions and scoring then agree. Rows of
a part are moved by thresholds that were found on the other parts.

`classes`, `rows`: of counts by class or by clip. One threshold for all classes is the best of `CANDIDATES` and of some
quantiles; a threshold for each class then follows class by class, the others held. `best`: of the best class of each
clip; a class's probability is divided by its threshold before the best one is taken.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from tonestack.tables.metrics import Metric, indicator, known

import numpy as np

CANDIDATES = 1 / (1 + np.exp(-np.linspace(-6, 6, 49)))  # one half among them
RATIOS = np.exp(np.linspace(-2, 2, 17))  # thresholds of a class as multiples of the others', where the best is taken
SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)  # of positive cells predicted: quantiles that are tried, too
ROWS = 4000  # clips, drawn at random, on which single classes' thresholds are found, for metrics that count by clip
SWEEPS = 3  # times over all classes
EDGE = 1e-6


@dataclass(frozen=True)
class Thresholds:
    """How thresholds are found. kind: half (none are sought), shared or per_class; classes with fewer than `least`
    positive clips keep the shared one."""

    metric: Metric
    one_label: bool
    kind: str = "shared"
    least: int = 10

    @property
    def decides(self) -> str:
        """What the metric is a function of: classes, rows or best; empty where there is nothing to seek."""
        return "" if self.kind == "half" else self.metric.decides(self.one_label)

    def find(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """Thresholds (C,) that suit scores (n, C) and their targets best; None where there is nothing to seek."""
        if not self.decides or not len(scores):
            return None
        if self.decides == "best":
            return self._of_best(scores, targets)
        return _Counted.of(self, scores, targets).find()

    def move(self, scores: np.ndarray, thresholds: np.ndarray | None) -> np.ndarray:
        """Scores (..., C) moved so that each threshold lies at one half; their order stays, class by class."""
        if thresholds is None:
            return scores
        t = np.clip(thresholds, EDGE, 1 - EDGE)
        if self.one_label:
            shares = scores / t
            return np.asarray(shares / shares.sum(axis=-1, keepdims=True))
        return np.where(scores < t, 0.5 * scores / t, 1 - 0.5 * (1 - scores) / (1 - t))

    def nested(self, scores: np.ndarray, targets: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Scores (n, C), those of each part (n,) moved by the thresholds of the other parts."""
        if not self.decides:
            return scores
        moved = np.empty(scores.shape)
        for k in np.unique(part):
            inside = part == k
            others = ~inside if not inside.all() else inside
            moved[inside] = self.move(scores[inside], self.find(scores[others], targets[others]))
        return moved

    def _of_best(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """Thresholds of metrics of the best class; shared ones change nothing, unless there are two classes."""
        classes = scores.shape[1]
        if self.kind == "shared" and classes != 2:
            return None
        picked = _some(len(scores))
        rows, truth = scores[picked], targets[picked]
        number = np.bincount(truth, minlength=classes)
        free = [1] if classes == 2 else [c for c in range(classes) if number[c] >= self.least]
        found = np.full(classes, 0.5)

        def value(thresholds: np.ndarray) -> float:
            return self.metric.sign * float(self.metric(rows / thresholds, truth))

        for c in free * (1 if classes == 2 else SWEEPS):
            tried = np.tile(found, (len(RATIOS), 1))
            tried[:, c] = np.clip(found.mean() * RATIOS, EDGE, 1 - EDGE)
            found = tried[_best(np.array([value(t) for t in tried]), np.abs(np.log(RATIOS)))]
        return found / (found[0] + found[1]) if classes == 2 else found


@dataclass
class _Counted:
    """Scores as steps: step (n, C) is how many of the candidates (G,) a score reaches."""

    how: Thresholds
    candidates: np.ndarray
    step: np.ndarray
    true: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, how: Thresholds, scores: np.ndarray, targets: np.ndarray) -> "_Counted":
        true, counted = indicator(targets, scores.shape[1]), known(targets, scores.shape[1])
        share = true.sum() / max(counted.sum(), 1)
        cells = scores[counted]
        drawn = cells[:: max(1, len(cells) // 1_000_000)]
        more = np.quantile(drawn, np.clip(1 - share * np.array(SHARES), 0, 1)) if len(drawn) else []
        candidates = np.unique(np.concatenate([CANDIDATES, np.clip(more, EDGE, 1 - EDGE)]))
        step = np.searchsorted(candidates, scores, side="right").astype(np.uint8)
        return cls(how, candidates, step, true, counted)

    @property
    def module(self) -> ModuleType:
        return self.how.metric.module

    def find(self) -> np.ndarray:
        """Thresholds (C,), shared or by class."""
        classes, far = self.step.shape[1], np.abs(np.log(self.candidates / (1 - self.candidates)))
        shared = _best(np.array([self._shared(g) for g in range(len(self.candidates))]), far)
        place = np.full(classes, shared)
        if self.how.kind == "per_class":
            self._each(place)
        return self.candidates[place]

    def _shared(self, g: int) -> float:
        """The metric with the g-th candidate for all classes."""
        predicted = (self.step > g) & self.known
        axis = 0 if self.how.decides == "classes" else 1
        cells = (predicted & self.true, predicted, self.true & self.known, self.known)
        hit, count, true, counted = (each.sum(axis=axis) for each in cells)
        return self._value(hit, count, true, counted)

    def _value(self, hit: np.ndarray, predicted: np.ndarray, true: np.ndarray, counted: np.ndarray) -> float:
        values = self.module.of_counts(hit, predicted, true, counted)
        if self.how.decides == "rows":
            values = values[counted > 0].mean() if (counted > 0).any() else np.nan
        return -np.inf if np.isnan(values) else float(values)

    def _each(self, place: np.ndarray) -> None:
        """Move the place (C,) of each class's threshold among the candidates, class by class, in place."""
        free = np.flatnonzero((self.true & self.known).sum(axis=0) >= self.how.least)
        changes = self._by_class if self.how.decides == "classes" else self._by_row
        value_of = changes(place)
        for _ in range(SWEEPS):
            before = place.copy()
            for c in free.tolist():
                values = np.array(list(value_of(c)))
                place[c] = _best(values, np.abs(np.arange(len(values)) - place[c]))
            if (place == before).all():
                break

    def _by_class(self, place: np.ndarray) -> Callable[[int], Iterator[float]]:
        """The metric at each candidate of one class, from counts by class (G, C) made once."""
        steps = np.arange(len(self.candidates))
        hit, predicted = (
            np.stack([((self.step > g) & mask).sum(axis=0) for g in steps])
            for mask in (self.true & self.known, self.known)
        )
        true, counted = (self.true & self.known).sum(axis=0), self.known.sum(axis=0)
        every = np.arange(len(place))

        def values(c: int) -> Iterator[float]:
            now = place.copy()
            for g in steps:
                now[c] = g
                yield self._value(hit[now, every], predicted[now, every], true, counted)

        return values

    def _by_row(self, place: np.ndarray) -> Callable[[int], Iterator[float]]:
        """The metric at each candidate of one class, from counts by clip that follow the places."""
        some = _some(len(self.step))
        step, true, counted = self.step[some], (self.true & self.known)[some], self.known[some]
        real, total = true.sum(axis=1), counted.sum(axis=1)

        def values(c: int) -> Iterator[float]:
            rest = (step > place) & counted
            rest[:, c] = False
            hit, predicted = (rest & true).sum(axis=1), rest.sum(axis=1)
            for g in range(len(self.candidates)):
                own = (step[:, c] > g) & counted[:, c]
                yield self._value(hit + (own & true[:, c]), predicted + own, real, total)

        return values


def _some(count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(count)[:ROWS])


def _best(values: np.ndarray, distance: np.ndarray) -> int:
    """The place of the largest value; among equals the one of least distance (G,)."""
    equal = np.flatnonzero(values >= values.max() - 1e-12)
    return int(equal[distance[equal].argmin()])
