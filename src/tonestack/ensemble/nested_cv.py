"""Nested cross-validation of every search, with bootstrap intervals and paired tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tonestack.base.files import fingerprint
from tonestack.ensemble import resampling, searches
from tonestack.ensemble.blends import Blend
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.trials.fusion import Fusion
from tonestack.settings.data_config import BlendParams
from tonestack.tables.metrics import Metric, mean

import numpy as np

LARGE = 256 << 20  # bytes of tables whose margins are not kept from search to search


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
    table, so a gain over it is a real one.
    """
    for name in names:
        searches.find(name, "probabilities" if problem.probabilities else "scores")
    best = problem.decided(searches.find("single").fit(problem, params, seed, None)(problem.tables))
    return [_evaluated(problem, part, name, params, seed, journals, best) for name in dict.fromkeys(names)]


def _evaluated(
    problem: Problem,
    part: np.ndarray,
    name: str,
    params: BlendParams,
    seed: int,
    journals: Path | None,
    best: np.ndarray,
) -> Candidate:
    search = searches.find(name)
    scores = np.empty(problem.tables.shape[1:], dtype=np.float32)
    by_fold = {}
    for k in np.unique(part):
        by_fold[int(k)] = _fitted(problem.rows(part != k), name, params, seed, journals)
        scores[part == k] = by_fold[int(k)](problem.tables[:, part == k])
    blend = _fitted(problem, name, params, seed, journals)
    decided = problem.decided(scores)
    cv, se = score(problem.metric, decided, problem.targets, params.bootstrap, problem.groups)
    gain = paired(problem.metric, decided, best, problem.targets, params.bootstrap, problem.groups)
    return Candidate(name, search.COMPLEXITY, blend, by_fold, scores, cv, se, gain)


def _fitted(problem: Problem, name: str, params: BlendParams, seed: int, journals: Path | None) -> Blend | Fusion:
    """Fit once; large tables then drop the margins that the fit left in memory."""
    blend: Blend | Fusion = searches.find(name).fit(
        problem, params, seed, _journal(journals, name, problem, params, seed)
    )
    if problem.tables.nbytes > LARGE:
        problem.forget()
    return blend


def score(
    metric: Metric, scores: np.ndarray, targets: np.ndarray, resamples: int = 1000, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the metric of one table and its bootstrap standard error; groups of clips are resampled whole."""
    if metric.decomposes:
        values, weights = metric.per_clip(scores, targets), metric.weights(targets)
        return float(mean(values, weights)), float(np.nanstd(resampling.means(values, resamples, weights, groups)))
    drawn = [float(metric(scores[i], targets[i])) for i in resampling.rows(len(scores), min(resamples, 200), groups)]
    return float(metric(scores, targets)), float(np.nanstd(drawn))


def paired(
    metric: Metric,
    a: np.ndarray,
    b: np.ndarray,
    targets: np.ndarray,
    resamples: int = 1000,
    groups: np.ndarray | None = None,
) -> Interval:
    """Bootstrap of the difference a - b on the same clips (Efron and Tibshirani 1993); positive: a is better."""
    if metric.decomposes:
        difference = metric.sign * (metric.per_clip(a, targets) - metric.per_clip(b, targets))
        weights = metric.weights(targets)
        value, drawn = float(mean(difference, weights)), resampling.means(difference, resamples, weights, groups)
    else:
        value = metric.sign * float(metric(a, targets) - metric(b, targets))
        rows = resampling.rows(len(a), min(resamples, 200), groups)
        drawn = np.array([metric.sign * float(metric(a[i], targets[i]) - metric(b[i], targets[i])) for i in rows])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(np.nanstd(drawn)), float(low), float(high))


def _journal(folder: Path | None, name: str, problem: Problem, params: BlendParams, seed: int) -> Path | None:
    """Return the journal file of exactly these tables, targets and settings."""
    if folder is None:
        return None
    content = [float(problem.tables[m].astype(np.float64).sum()) for m in range(problem.count)]
    key = [name, problem.names, problem.objective.name, params.power, params.batch, seed, content, problem.tables.shape]
    return folder / f"{name}-{fingerprint([*key, problem.targets.tolist()])}.journal"
