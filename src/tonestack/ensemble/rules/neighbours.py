"""Tables of windows: a window's neighbours and its recording say something about it, too.

A rule smooths each class over a recording's windows and multiplies by a power of the recording's maximum. Most winners
of soundscape competitions do both. Nested cross-validation chooses the rule: that of part k has not seen part k.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tonestack.ensemble.problem import Problem
from tonestack.tables.competition import TIMES, Competition

import numpy as np
import pandas as pd

KERNELS = ((1.0,), (0.1, 0.8, 0.1), (0.2, 0.6, 0.2), (0.1, 0.2, 0.4, 0.2, 0.1), (0.2, 0.2, 0.2, 0.2, 0.2))
POWERS = (0.0, 0.25, 0.5)  # 1 promised .034 of five folds and cost .014 on fresh recordings (docs/soundscapes.md)


@dataclass(frozen=True)
class Places:
    """Where rows lie: `recording` (N,) int, and `order` (N,) int, the window's number in its recording; both from 0."""

    recording: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, competition: Competition, clip_ids: Sequence[str]) -> "Places | None":
        """The places of some clips; None if no file has several clips."""
        return cls.of_table(competition.clips_by_id.loc[list(clip_ids)])

    @classmethod
    def of_table(cls, clips: pd.DataFrame) -> "Places | None":
        """The places of the clips of a table with `path, start, end`; None if no file has several clips."""
        recording = pd.factorize(clips["path"])[0]
        if clips[TIMES].isna().all(axis=None) or len(np.unique(recording)) == len(recording):
            return None
        start = clips["start"].fillna(0.0).reset_index(drop=True)
        order = start.groupby(recording).rank(method="first").to_numpy().astype(int) - 1
        return cls(recording, order)

    def grid(self) -> np.ndarray:
        """Rows (R, W) of the windows of recordings with several, in order; -1 behind the last of a shorter one."""
        several = np.bincount(self.recording)[self.recording] > 1
        number = np.unique(self.recording[several], return_inverse=True)[1]
        rows = np.full((number.max(initial=-1) + 1, self.order.max(initial=-1) + 1), -1)
        rows[number, self.order[several]] = np.flatnonzero(several)
        return rows


@dataclass(frozen=True)
class WindowRule:
    """Smooths rows (N, C) with a kernel and multiplies by the recording's maximum to a power.

    A kernel is cut at a recording's ends and at windows without a prediction (NaN), the rest of it adding up to one.
    """

    kernel: tuple[float, ...] = (1.0,)
    power: float = 0.0

    def __call__(self, values: np.ndarray, places: Places) -> np.ndarray:
        """Rows (N, C) of the same windows; those of recordings with one window, or without a prediction, stay."""
        grid = places.grid()
        there = (grid >= 0) & np.isfinite(values[grid]).all(axis=2)
        table = np.where(there[..., None], values[grid], np.float32(0))  # (R, W, C)
        smooth = _smoothed(table, there, self.kernel)
        several = there.sum(axis=1, keepdims=True)[..., None] > 1  # one window alone has no recording around it
        if self.power:
            most = np.where(there[..., None], smooth, 0.0).max(axis=1, keepdims=True)
            smooth = np.where(several, smooth * most**self.power, smooth)
        made = values.astype(np.float32, copy=True)
        made[grid[there]] = smooth[there]
        return made

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "WindowRule":
        """The rule that `settings` describes."""
        return cls(tuple(float(share) for share in settings["kernel"]), float(settings["power"]))

    def settings(self) -> dict[str, Any]:
        """The rule as a receipt has it."""
        return {"kernel": list(self.kernel), "power": self.power}


def _smoothed(table: np.ndarray, there: np.ndarray, kernel: Sequence[float]) -> np.ndarray:
    """The table (R, W, C) smoothed along W, missing windows left out."""
    half, width = len(kernel) // 2, table.shape[1]
    total, weight = np.zeros_like(table), np.zeros(there.shape)
    for step, share in zip(range(-half, half + 1), kernel, strict=True):
        here = slice(max(0, -step), min(width, width - step))
        other = slice(max(0, step), min(width, width + step))
        if here.start < here.stop:
            total[:, here] += share * table[:, other]
            weight[:, here] += share * there[:, other]
    return total / np.maximum(weight, 1e-12)[..., None]


def rules() -> list[WindowRule]:
    """All rules that are tried, the one that changes nothing first."""
    return [WindowRule(kernel, power) for power in POWERS for kernel in KERNELS]


def choose(
    rows: np.ndarray, places: Places, problem: Problem, scored: np.ndarray, part: np.ndarray
) -> tuple[WindowRule, np.ndarray]:
    """Return the rule of all scored clips, and nested rows (N, C): each part's by the rule of the other parts.

    rows: OOF rows (N, C); scored (N,): the clips that scores count; part (N,): the parts to nest over, -1 for none.
    Rules are compared by the mean of the parts' own metric: a power of the recording's maximum spreads rows of networks
    of different levels further apart.
    """
    every, inner, parts = rules(), part[scored], np.unique(part[part >= 0])
    values = np.array([_values(rule(rows, places)[scored], problem, inner, parts) for rule in every])  # (rules, parts)
    best = [_first_best(values[:, parts != k]) for k in parts]
    nested = rows.astype(np.float32, copy=True)
    for chosen in set(best):  # again, one table at a time: all rules' tables do not fit side by side
        here = np.isin(part, [k for k, one in zip(parts, best, strict=True) if one == chosen])
        nested[here] = every[chosen](rows, places)[here]
    return every[_first_best(values)], nested


def _values(made: np.ndarray, problem: Problem, part: np.ndarray, parts: np.ndarray) -> list[float]:
    """The metric, larger is better, of a rule's scored rows (n, C) in each part; NaN where a part has none."""
    metric, truth = problem.metric, problem.targets
    heres = (part == k for k in parts)
    return [metric.sign * float(metric(made[here], truth[here])) if here.any() else np.nan for here in heres]


def _first_best(values: np.ndarray) -> int:
    """The number of the largest mean over parts of values (rules, parts), the first of equals; 0 if there is none."""
    known = values[:, np.isfinite(values).all(axis=0)]
    return int(np.argmax(np.round(known.mean(axis=1), 10))) if known.size else 0


def around(logs: np.ndarray, places: Places | None) -> np.ndarray:
    """What a recording's other windows say, for stackers: logs (N, C) -> (N, 4, C), all less the window's own.

    The window before, the one after, the recording's mean and its maximum; 0 where there is none, and without places.
    """
    made = np.zeros((len(logs), 4, logs.shape[1]), dtype=np.float32)
    if places is None:
        return made
    grid = places.grid()
    there = grid >= 0
    table = np.where(there[..., None], logs[grid], np.float32(0))  # (R, W, C)
    count = np.maximum(there.sum(axis=1), 1)[:, None, None]
    mean = np.broadcast_to(table.sum(axis=1, keepdims=True) / count, table.shape)
    most = np.where(there[..., None], table, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    before, after = table.copy(), table.copy()
    both = (there[:, 1:] & there[:, :-1])[..., None]
    before[:, 1:] = np.where(both, table[:, :-1], table[:, 1:])
    after[:, :-1] = np.where(both, table[:, 1:], table[:, :-1])
    every = np.stack([before, after, mean, np.broadcast_to(most, table.shape)], axis=2) - table[:, :, None]
    made[grid[there]] = every[there]
    return made
