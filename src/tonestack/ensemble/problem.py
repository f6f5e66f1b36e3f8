"""The problem of a blend search: the weights of these tables that score best on these clips.

Weightings are scored in batches. For any power p the blend of one clip keeps its order under the monotone
map s^(1/p), so the rank of the true class follows from weighted sums of *margins* (class c minus the true
class), and only pairs (clip, class) on which the models disagree can change it. One matrix product over those
contested pairs scores all candidates of a batch, without exponentials and without sorting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from tonestack.ensemble.blends import Blend, from_sum, to_summand
from tonestack.tables.metrics import Metric, class_index, resolve
from tonestack.tables.thresholds import Thresholds

import numpy as np
from threadpoolctl import ThreadpoolController

BLAS = ThreadpoolController()  # these products are small: a second BLAS thread costs more than it brings
CANDIDATES = 32  # weightings scored by one matrix product
BLOCK = 1 << 20  # values in one block of a batch: 4 MiB of float32 stay in the cache


@dataclass
class Problem:
    """Tables (M, N, C) float32 of probabilities (rows normalised), their clips' targets, and the metric to optimise.

    probabilities: False for tables (M, N, 1) of trial scores, targets (N,) 1 where a trial is of one speaker.
    groups: of the clips (N,), or the speakers of both sides of trials (N, 2); None where none are known.
    part: of the nesting (N,). thresholds: how those of a metric of predicted labels are found; searches minimise the
    log loss for such a metric. told: hears how many weightings have been scored, for progress bars.
    """

    tables: np.ndarray
    targets: np.ndarray
    metric: Metric
    names: tuple[str, ...]
    normalise: bool = True
    probabilities: bool = True
    groups: np.ndarray | None = None
    part: np.ndarray | None = None
    thresholds: Thresholds | None = None
    told: Callable[[int], object] | None = None
    _margins: dict[float, "Margins"] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """M, the number of tables."""
        return len(self.tables)

    def rows(self, keep: np.ndarray) -> "Problem":
        """Return the problem on some of the clips; `keep` is a mask or indices."""
        groups, part = (None if of is None else of[keep] for of in (self.groups, self.part))
        kept = self.tables[:, keep], self.targets[keep]
        return replace(self, tables=kept[0], targets=kept[1], groups=groups, part=part, _margins={})

    def models(self, keep: Sequence[int]) -> "Problem":
        """Return the problem with some of the tables."""
        chosen = list(keep)
        names = tuple(self.names[m] for m in chosen)
        return replace(self, tables=self.tables[chosen], names=names, _margins={})

    @cached_property
    def log_loss_metric(self) -> Metric:
        """The tie-breaker."""
        return resolve("log_loss")

    @property
    def objective(self) -> Metric:
        """What searches optimise: the metric, or the log loss where thresholds come in between."""
        return self.log_loss_metric if self.thresholds is not None and self.thresholds.decides else self.metric

    def decided(self, scores: np.ndarray) -> np.ndarray:
        """Scores (N, C) as the metric takes them: moved by nested thresholds, where it needs any."""
        if self.thresholds is None or self.part is None:
            return scores
        return self.thresholds.nested(scores, self.targets, self.part)

    def value(self, name: str, scores: np.ndarray) -> float:
        """Another metric of scores (N, C), by nested thresholds of its own where it needs any."""
        metric = resolve(name)
        own = self if self.thresholds is None else replace(self, thresholds=replace(self.thresholds, metric=metric))
        return float(metric(own.decided(scores), self.targets))

    def evaluate(self, weights: np.ndarray, power: float) -> np.ndarray:
        """Sign x value of the objective of B weightings (B, M) -> (B,): larger is better."""
        weights = np.atleast_2d(np.asarray(weights, dtype=np.float32))
        if self.metric.ranked:
            values = self.margins(power).evaluate(weights)
            if self.told:
                self.told(len(weights))
            return values
        return self.objective.sign * self._score_blends(weights, power, self.objective)

    def log_loss(self, weights: np.ndarray, power: float) -> np.ndarray:
        """Log loss of B weightings (B, M) -> (B,): smaller is better."""
        weights = np.atleast_2d(np.asarray(weights, dtype=np.float32))
        return self._score_blends(weights, power, self.log_loss_metric)

    def best(self, weights: np.ndarray, power: float) -> tuple[int, float]:
        """Index and value of the best of B weightings: the metric decides, log loss breaks ties, then order."""
        return self.of_least_loss(self.evaluate(weights, power), weights, power)

    def of_least_loss(self, values: np.ndarray, weights: np.ndarray, power: float) -> tuple[int, float]:
        """The best of weightings whose metric values (B,) are known; among equals the one of least log loss."""
        tied = np.flatnonzero(values >= values.max() - 1e-12)
        if len(tied) > 1 and self.probabilities:
            tied = tied[[int(np.argmin(self.log_loss(weights[tied], power)))]]
        return int(tied[0]), float(values[tied[0]])

    def score(self, blend: Blend) -> float:
        """The metric of one blend of any kind."""
        return float(self.metric(blend(self.tables), self.targets))

    def margins(self, power: float) -> "Margins":
        """The contested pairs for one power, made once."""
        if power not in self._margins:
            self._margins.clear()  # as large as the tables: one power at a time
            self._margins[power] = Margins.of(self, power)
        return self._margins[power]

    def summands(self, power: float) -> np.ndarray:
        """Return the terms of a power mean for all tables (M, N, C), without a second copy in memory."""
        result = np.empty(self.tables.shape, dtype=np.float32)
        for m in range(self.count):
            result[m] = to_summand(self.tables[m], power, self.normalise)
        return result

    def forget(self) -> None:
        """Free what was kept for the next search."""
        self._margins.clear()

    def _score_blends(self, weights: np.ndarray, power: float, metric: Metric) -> np.ndarray:
        n, c = self.tables.shape[1:]
        step = max(1, BLOCK // (n * c))
        values = []
        for start in range(0, len(weights), step):
            block = weights[start : start + step]
            total = np.zeros((len(block), n, c), dtype=np.float32)
            for m in np.flatnonzero(block.any(axis=0)):
                total += block[:, m, None, None] * to_summand(self.tables[m], power, self.normalise)
            values.append(metric(from_sum(total, power, self.normalise), self.targets))
            if self.told:
                self.told(len(block))
        return np.concatenate(values)


@dataclass
class Margins:
    """The pairs (clip, class) that can change a rank: values (M, P).

    Contested clips stand in order of falling pair count, and pairs slot by slot: the first pair of every clip,
    then the second of those that have two, and so on, so that counting per clip is one vector addition per slot.
    threshold (P,): the class outranks the true one if its weighted margin reaches it; a class of lower index
    does so at equality. slots: clips in each slot. base (S,): classes that outrank the true one whatever the
    weights. settled: the sum of metric values of all other clips.
    """

    values: np.ndarray
    threshold: np.ndarray
    slots: np.ndarray
    base: np.ndarray
    by_rank: np.ndarray
    settled: float
    clips: int

    @classmethod
    def of(cls, problem: Problem, power: float) -> "Margins":
        """Two passes over the tables: which pairs are contested, then their margins alone."""
        index = class_index(problem.targets)
        _, n, c = problem.tables.shape
        every = np.arange(n)
        threshold = np.where(np.arange(c) < index[:, None], np.float32(0), np.finfo(np.float32).tiny)
        ahead = np.zeros((n, c), dtype=np.int32)  # models that score the class above the true one
        for m in range(problem.count):
            ahead += _margin(problem, m, power, index) >= threshold
        ahead[every, index] = 0
        always = ahead == problem.count
        base = always.sum(axis=1)
        by_rank = np.asarray(problem.metric.sign * problem.metric.of_rank(np.arange(1, c + 1)), dtype=np.float64)
        contested = (ahead > 0) & ~always
        contested &= (_tail_range(by_rank)[base] > 0)[:, None]  # beyond rank k nothing changes the value
        pairs, clips, slots = _slots(contested)
        values = np.empty((problem.count, len(pairs[0])), dtype=np.float32)
        for m in range(problem.count):
            values[m] = _margin(problem, m, power, index)[pairs]
        settled = float(by_rank[base].sum() - by_rank[base[clips]].sum())
        kind = np.uint8 if c < 256 else np.int32
        return cls(values, threshold[pairs], slots, base[clips].astype(kind), by_rank, settled, n)

    def evaluate(self, weights: np.ndarray) -> np.ndarray:
        """Metric (larger is better) of B weightings (B, M) -> (B,)."""
        blocks = [weights[start : start + CANDIDATES] for start in range(0, len(weights), CANDIDATES)]
        with BLAS.limit(limits=1, user_api="blas"):
            return np.concatenate([self._score(len(b), partial(self._products, b)) for b in blocks])

    def _products(self, weights: np.ndarray, part: slice) -> np.ndarray:
        product: np.ndarray = weights @ self.values[:, part]
        return product

    def evaluate_added(self, total: np.ndarray | float) -> np.ndarray:
        """Metric of the M sums (P,) that adding one table to `total` (P,) gives -> (M,)."""
        whole = np.broadcast_to(np.asarray(total, dtype=np.float32), self.threshold.shape)
        return self._score(len(self.values), lambda part: self.values[:, part] + whole[part])

    def _score(self, count: int, sums: Callable[[slice], np.ndarray]) -> np.ndarray:
        """Metric of `count` candidates whose weighted margins (count, p) of some pairs `sums` gives."""
        rank = np.tile(self.base, (count, 1))  # (count, S), counted from 0
        step = max(1, BLOCK // count)
        first = 0
        for size in self.slots:
            for start in range(0, size, step):
                stop = min(start + step, size)
                part = slice(first + start, first + stop)
                rank[:, start:stop] += sums(part) >= self.threshold[part]
            first += size
        return (self.by_rank.take(rank).sum(axis=1) + self.settled) / self.clips


def _margin(problem: Problem, m: int, power: float, index: np.ndarray) -> np.ndarray:
    """Margins (N, C) of table m: the summand of every class less the true class's, sign turned for p < 0."""
    values = to_summand(problem.tables[m], power, problem.normalise)
    margin = values - values[np.arange(len(index)), index][:, None]
    return -margin if power < 0 else margin


def _slots(contested: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Order the True pairs of (N, C) slot by slot: their (clip, class) indices, the clips (S,), clips per slot."""
    counts = contested.sum(axis=1)
    clips = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    place = np.empty(len(contested), dtype=np.int64)
    place[clips] = np.arange(len(clips))
    clip, label = np.nonzero(contested)
    slot = np.arange(len(clip)) - (np.cumsum(counts) - counts)[clip]
    order = np.lexsort((place[clip], slot))
    return (clip[order], label[order]), clips, np.bincount(slot) if len(slot) else np.zeros(0, dtype=np.int64)


def _tail_range(by_rank: np.ndarray) -> np.ndarray:
    """Return the largest change of the value from each rank on, (C,)."""
    tail_max = np.maximum.accumulate(by_rank[::-1])[::-1]
    tail_min = np.minimum.accumulate(by_rank[::-1])[::-1]
    return tail_max - tail_min
