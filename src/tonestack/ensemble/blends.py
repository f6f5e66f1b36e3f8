"""One family of blends: the weighted power mean of probabilities, and the mean of ranks.

p = 1 is the arithmetic mean, p -> 0 the geometric, p = -1 the harmonic: q_c ~ (sum_m w_m p_mc^p)^(1/p)
(Hardy, Littlewood, Polya, Inequalities, 1934). If classes are independent, p -> 0 is the mean of log odds. Every step
works on one table at a time, so that a blend of many large tables needs the memory of two.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from tonestack.tables.oof import FLOOR, from_logs, to_logs

import numpy as np


@dataclass(frozen=True)
class Blend:
    """A fitted blend: `blend(tables)` gives one (N, C) table.

    weights: (M,) on the simplex, or (M, C) with every column on it. power: p, or None for the mean of ranks.
    temperatures: (M,) or None; table m is first sharpened or softened to p^(1/T), renormalised, or to odds^(1/T).
    normalise: True if rows sum to 1 (one label per clip), False if classes are independent.
    """

    weights: np.ndarray
    power: float | None = 0.0
    temperatures: np.ndarray | None = None
    normalise: bool = True

    def __call__(self, tables: Iterable[np.ndarray]) -> np.ndarray:
        """Blend M tables (N, C), taken one at a time; their order is that of the weights."""
        return joined(self, tables)

    def summand(self, m: int, table: np.ndarray) -> np.ndarray:
        """Return the term of table m, its weight included."""
        return self._values(m, table) * self.weights[m].astype(np.float32)

    def mean(self, total: np.ndarray) -> np.ndarray:
        """The blend from the sum over all tables."""
        if self.power is None:
            return row_normal(total) if self.normalise else total
        return from_sum(total, self.power, self.normalise)

    def _values(self, m: int, table: np.ndarray) -> np.ndarray:
        if self.power is None:
            return row_ranks(table)
        table = row_normal(table) if self.normalise else table
        if self.temperatures is not None:
            table = tempered(table, float(self.temperatures[m]), self.normalise)
        return to_summand(table, self.power, self.normalise)


class Summable(Protocol):
    """A fitted way to join tables: a sum of one term per table, and the map back from the sum."""

    @property
    def weights(self) -> np.ndarray:
        """(M,) or (M, C)."""

    def summand(self, m: int, table: np.ndarray) -> Any:
        """Return the term of table m, its weight included."""

    def mean(self, total: np.ndarray) -> np.ndarray:
        """The joined table from the sum over all tables."""


class BlendSum:
    """The running sum of a blend: tables are added one by one, so that many blends share one pass over the tables."""

    def __init__(self, blend: Summable) -> None:
        self.blend = blend
        self.total: np.ndarray | None = None

    def add(self, m: int, table: np.ndarray) -> None:
        """Add table m; a table of weight 0 is left out, as its zeros would make a geometric mean 0."""
        if np.any(self.blend.weights[m]):
            term = self.blend.summand(m, table)
            self.total = term if self.total is None else np.add(self.total, term, out=self.total)

    def result(self) -> np.ndarray:
        """The blended table."""
        if self.total is None:
            raise ValueError("a blend needs at least one table with a weight")
        return self.blend.mean(self.total)


def joined(how: Summable, tables: Iterable[np.ndarray]) -> np.ndarray:
    """Join M tables, taken one at a time; their order is that of the weights."""
    total = BlendSum(how)
    for m, table in enumerate(tables):
        total.add(m, table)
    return total.result()


def equal(count: int) -> np.ndarray:
    """Equal weights (M,)."""
    return np.full(count, 1.0 / count)


def row_normal(table: np.ndarray) -> np.ndarray:
    """Rows (..., C) divided by their sum."""
    return table / table.sum(axis=-1, keepdims=True)


def to_summand(p: np.ndarray, power: float, normalise: bool = True) -> np.ndarray:
    """Return the terms of the power mean: log p (log odds if not `normalise`) for p -> 0, else p^power, any shape."""
    if power == 0 and not normalise:
        return to_logs(p, one_label=False)
    p = np.maximum(p, np.float32(FLOOR))
    return np.log(p) if power == 0 else p if power == 1 else p ** np.float32(power)


def from_sum(total: np.ndarray, power: float, normalise: bool) -> np.ndarray:
    """Invert `to_summand` on the weighted sum (..., C)."""
    if power == 0 and not normalise:
        return from_logs(total, one_label=False)
    if power == 0:
        mean = np.exp(total - total.max(axis=-1, keepdims=True))
    else:
        mean = total if power == 1 else total ** np.float32(1 / power)
    return row_normal(mean) if normalise else mean


def tempered(p: np.ndarray, temperature: float, normalise: bool = True) -> np.ndarray:
    """p^(1/T), rows renormalised, or odds^(1/T): T > 1 softens, T < 1 sharpens (Guo et al. 2017)."""
    if not normalise:
        return from_logs(to_logs(p, one_label=False) / np.float32(temperature), one_label=False)
    power = np.exp(np.log(np.maximum(p, np.float32(FLOOR))) / np.float32(temperature))
    return row_normal(power)


def row_ranks(table: np.ndarray) -> np.ndarray:
    """Each row's classes by rank, best class 1, worst 1/C; ties go to the lower class index."""
    order = np.argsort(-table, axis=-1, kind="stable")
    ranks = np.empty(table.shape, dtype=np.float32)
    steps = np.arange(table.shape[-1], 0, -1, dtype=np.float32) / table.shape[-1]
    np.put_along_axis(ranks, order, np.broadcast_to(steps, table.shape), axis=-1)
    return ranks
