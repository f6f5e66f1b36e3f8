"""Nested cross-validation of every search, with bootstrap intervals and paired tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tonestack.base.console import Bar, bar
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
from tonestack.ensemble import resampling, searches
from tonestack.ensemble.blends import Blend
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.trials.fusion import Fusion
from tonestack.settings.data_config import BlendParams
from tonestack.tables.metrics import Metric, mean

import numpy as np

LARGE = 256 << 20  # bytes of tables whose margins are not kept from search to search
DRAWS = 200  # resamples of a metric that is no mean over clips
CELLS = 1 << 21  # of scores, in a resample of such a metric, and of a table that a search works on


@dataclass(frozen=True)
class Interval:
    """A difference of two scores on the same clips: its standard error and 95 % interval."""

    value: float
    se: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class Candidate:
    """A search with its nested score.

    scores (N, C): nested predictions, each clip's by a blend that was tuned without the clip's fold. by_fold: those
    blends. blend: the blend refit on all clips, to be submitted. cv, se: nested metric and its standard error.
    gain: difference to the best single table; positive is better for every metric.
    """

    name: str
    complexity: int
    blend: Blend | Fusion
    by_fold: dict[int, Blend | Fusion]
    scores: np.ndarray
    cv: float
    se: float
    gain: Interval


@dataclass(frozen=True)
class Resampled:
    """One table's metric with its bootstrap, made once and compared with any other table's on the same clips.

    values: of each clip, for metrics that are a mean over clips, else of each of the `DRAWS` resamples, which hold
    `size` of the clips. The resamples are the same for all tables.
    """

    metric: Metric
    value: float
    values: np.ndarray
    resamples: int
    weights: np.ndarray | None
    groups: np.ndarray | None
    size: float = 1.0

    @classmethod
    def of(
        cls,
        metric: Metric,
        scores: np.ndarray,
        targets: np.ndarray,
        resamples: int = 1000,
        groups: np.ndarray | None = None,
        told: Callable[[int], object] | None = None,
    ) -> "Resampled":
        """Score one table (N, C) and its resamples; groups of clips are resampled whole.

        told: hears of every resample that took a pass over the scores, for progress bars.
        """
        if metric.decomposes:
            values, weights = metric.per_clip(scores, targets), metric.weights(targets)
            return cls(metric, float(mean(values, weights)), values, resamples, weights, groups)
        size = min(1.0, CELLS / scores.size)
        rows = resampling.rows(len(scores), min(resamples, DRAWS), groups, size)
        drawn = []
        for i in rows:
            drawn.append(float(metric(scores[i], targets[i])))
            if told:
                told(1)
        return cls(metric, float(metric(scores, targets)), np.array(drawn), resamples, None, groups, size)

    @property
    def se(self) -> float:
        """The bootstrap standard error."""
        return float(np.nanstd(self._drawn(self.values)) * np.sqrt(self.size))

    def gain(self, other: "Resampled") -> Interval:
        """Bootstrap of the difference to another table (Efron and Tibshirani 1993); positive: this one is better."""
        difference = self.metric.sign * (self.values - other.values)
        drawn = self._drawn(difference)
        whole = self.metric.sign * (self.value - other.value)
        value = float(mean(difference, self.weights)) if self.metric.decomposes else whole
        if self.size < 1:  # deviations of small resamples, about the value of all clips
            drawn = value + np.sqrt(self.size) * (drawn - np.nanmean(drawn))
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        return Interval(value, float(np.nanstd(drawn)), float(low), float(high))

    def _drawn(self, values: np.ndarray) -> np.ndarray:
        if not self.metric.decomposes:
            return values
        return resampling.means(values, self.resamples, self.weights, self.groups)


def nesting(fold: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the parts (N,) to nest over: the folds, or five random parts of a single fold (fixed split).

    groups: of the rows, None where none are known. They are whole in the random parts, as they are in folds: what is
    tuned on one clip of a group is not scored on another.
    """
    if len(np.unique(fold[fold >= 0])) > 1:
        return fold
    return resampling.parts(fold, groups, 5)


def evaluate(
    problem: Problem, part: np.ndarray, names: Sequence[str], params: BlendParams, seed: int, journals: Path | None
) -> list[Candidate]:
    """Return the nested candidate of each search named, compared with the best single table.

    problem: N clips; part (N,): the parts to nest over. The single table is the best on all clips. That favours the
    table, so a gain over it is a real one. Clips of one part alone cannot be nested: `UserError`.
    """
    if len(np.unique(part)) < 2:
        raise UserError(resampling.ONE_FOLD)
    for name in names:
        searches.find(name, "probabilities" if problem.probabilities else "scores")
    chosen, folds = list(dict.fromkeys(names)), len(np.unique(part))
    works = [searches.work(name, problem, params) for name in ("single", *chosen * (folds + 1))]
    draws = 0 if problem.metric.decomposes else min(params.bootstrap, DRAWS)
    with bar(sum(works) + draws * (1 + len(chosen)), "blend", "weightings", brief=True) as shown:
        best = _resampled(problem, _fitted(problem, "single", params, seed, None, shown)(problem.tables), params, shown)
        return [_evaluated(problem, part, name, params, seed, journals, best, shown) for name in chosen]


def _resampled(problem: Problem, scores: np.ndarray, params: BlendParams, shown: Bar) -> Resampled:
    """Nested scores (N, C) of a problem's clips, decided and with their resamples."""
    decided, told = problem.decided(scores), shown.update
    return Resampled.of(problem.metric, decided, problem.targets, params.bootstrap, problem.groups, told)


def _evaluated(
    problem: Problem,
    part: np.ndarray,
    name: str,
    params: BlendParams,
    seed: int,
    journals: Path | None,
    best: Resampled,
    shown: Bar,
) -> Candidate:
    search = searches.find(name)
    scores = np.empty(problem.tables.shape[1:], dtype=np.float32)
    by_fold = {}
    for k in np.unique(part):
        shown.set_text(f"{name}, without fold {k}")
        by_fold[int(k)] = _fitted(problem.rows(part != k), name, params, seed, journals, shown)
        scores[part == k] = by_fold[int(k)](problem.tables[:, part == k])
    shown.set_text(f"{name}, all folds")
    blend = _fitted(problem, name, params, seed, journals, shown)
    found = _resampled(problem, scores, params, shown)
    return Candidate(name, search.COMPLEXITY, blend, by_fold, scores, found.value, found.se, found.gain(best))


def searched(problem: Problem) -> np.ndarray:
    """Return the indices of the clips that a search works on: a random part of very large tables of a slow metric."""
    n, classes = problem.tables.shape[1:]
    every = problem.objective.ranked  # weightings are scored by the contested pairs alone
    return np.arange(n) if every else resampling.some(np.zeros(n, dtype=int), max(1, CELLS // classes))


def _fitted(
    problem: Problem, name: str, params: BlendParams, seed: int, journals: Path | None, shown: Bar
) -> Blend | Fusion:
    """Fit once; large tables then drop the margins that the fit left in memory."""
    rows, left = searched(problem), searches.work(name, problem, params)
    problem = problem if len(rows) == problem.tables.shape[1] else problem.rows(rows)

    def told(count: int) -> None:
        nonlocal left
        count = min(count, left)
        left -= count
        shown.update(count)

    problem.told = told
    blend: Blend | Fusion = searches.find(name).fit(
        problem, params, seed, _journal(journals, name, problem, params, seed)
    )
    problem.told = None
    shown.update(left)  # searches that ended early
    if problem.tables.nbytes > LARGE:
        problem.forget()
    return blend


def score(
    metric: Metric, scores: np.ndarray, targets: np.ndarray, resamples: int = 1000, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the metric of one table and its bootstrap standard error; groups of clips are resampled whole."""
    found = Resampled.of(metric, scores, targets, resamples, groups)
    return found.value, found.se


def paired(
    metric: Metric,
    a: np.ndarray,
    b: np.ndarray,
    targets: np.ndarray,
    resamples: int = 1000,
    groups: np.ndarray | None = None,
) -> Interval:
    """Bootstrap of the difference a - b on the same clips; positive: a is better."""
    one, other = (Resampled.of(metric, table, targets, resamples, groups) for table in (a, b))
    return one.gain(other)


def _journal(folder: Path | None, name: str, problem: Problem, params: BlendParams, seed: int) -> Path | None:
    """Return the journal file of exactly these tables, targets and settings."""
    if folder is None:
        return None
    content = [float(problem.tables[m].astype(np.float64).sum()) for m in range(problem.count)]
    key = [name, problem.names, problem.objective.name, params.power, params.batch, seed, content, problem.tables.shape]
    return folder / f"{name}-{fingerprint([*key, problem.targets.tolist()])}.journal"
