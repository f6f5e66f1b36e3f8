"""Repeated cross-validation: the same experiments on other folds, scored together, with intervals over groups.

Each repeat is a call of its own, `<name>-r1`, `<name>-r2` ..., with its own fold seed, folds and tables. Features are
shared. The first repeat is the call itself, on the labels as given. Where the call has chosen another revision, its
blend and stack are of that one, so the first repeat is `<name>-r0`, on the same folds.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import atomic, fingerprint
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.ensemble import resampling
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.tables import Tables
from tonestack.labels import revisions
from tonestack.tables import oof
from tonestack.tables.metrics import Metric

import numpy as np
import pandas as pd

RESAMPLES, FEWER = 2000, 200  # of the groups; fewer where a metric has no value per clip
COLUMNS = ["experiment", "value", "low", "high", "between_repeats", "gain", "gain_low", "gain_high"]


def calls(call: Call) -> list[Call]:
    """Return the call itself, then the same on other folds, `folds.repeats` in all."""
    own, cache = call.data.folds, call.words.cache or call.name
    given = (call.words.revision or revisions.chosen(call.folds)) == "r0"
    apart = {} if given else {"name": f"{call.name}-r0", "cache": cache}
    calls = [call.but(revision="r0", **apart)]  # other revisions are decided on one set of folds
    for k in range(1, own.repeats):
        seed = {"folds": {"seed": own.seed + k, "repeats": 1}}
        words = layers.merge([("", call.words.overrides), ("", seed)])
        calls.append(call.but(name=f"{call.name}-r{k}", cache=cache, revision="r0", overrides=words))
    return calls


def copy_folds(source: Path, target: Path) -> None:
    """Give the first repeat the call's own folds, r0.csv and its r0.json, where it has a folder of its own."""
    files = [(source / name, target / name) for name in ("r0.csv", "r0.json")]
    if source == target or all(file_bytes(one) == file_bytes(other) for one, other in files):
        return
    target.mkdir(parents=True, exist_ok=True)
    files[1][1].unlink(missing_ok=True)  # an old receipt must not stand beside new folds
    for one, other in files:
        if one.is_file():
            with atomic(other) as temporary:
                shutil.copyfile(one, temporary)


def file_bytes(path: Path) -> bytes | None:
    """Return a file's content; None if it is not there."""
    return path.read_bytes() if path.is_file() else None


def check_folds(calls: list[Call]) -> None:
    """Refuse repeats whose folds are the same: official folds are not redrawn."""
    seen = [fingerprint(call.labels.folds["fold"].tolist()) for call in calls]
    if len(set(seen)) < len(seen):
        raise UserError(
            "folds.repeats: two repeats have the same folds (official folds, or too few groups to split otherwise); "
            "give folds.repeats=1"
        )


@dataclass(frozen=True)
class Scores:
    """One experiment's predictions in all repeats: scores (R, n, C) of the scored clips, and how they are scored."""

    name: str
    scores: np.ndarray
    metric: Metric
    targets: np.ndarray

    def value(self, rows: np.ndarray | None = None) -> float:
        """Return the mean of the metric over the repeats, on all clips or on `rows`."""
        keep = slice(None) if rows is None else rows
        return float(np.mean([self.metric(table[keep], self.targets[keep]) for table in self.scores]))

    def drawn(self, groups: np.ndarray) -> np.ndarray:
        """Return the value in resamples of whole groups (B,); every experiment gets the same resamples."""
        if groups.ndim == 2:
            return np.array([self.value(rows) for rows in resampling.rows(len(groups), FEWER, groups)])
        rng = np.random.default_rng(0)
        code = np.unique(groups, return_inverse=True)[1]
        count = code.max() + 1
        if self.metric.decomposes:
            each = np.mean([self.metric.per_clip(table, self.targets) for table in self.scores], axis=0)
            weights = self.metric.weights(self.targets)
            share = np.ones(len(each)) if weights is None else weights
            times = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
            total = times @ np.bincount(code, share)
            return np.where(total > 0, times @ np.bincount(code, each * share) / np.maximum(total, 1e-12), np.nan)
        members = [np.flatnonzero(code == g) for g in range(count)]
        picks = rng.integers(count, size=(FEWER, count))
        return np.array([self.value(np.concatenate([members[g] for g in pick])) for pick in picks])


def table(calls: list[Call], baseline: str) -> pd.DataFrame:
    """Return all experiments of every repeat, best first: value, 95 % interval, spread, gain over the baseline."""
    names = [name for name in oof.experiments(calls[0].oof, made=True) if all(_there(call, name) for call in calls[1:])]
    if not names:
        raise UserError(f"{calls[0].oof}: no experiment is finished in all repeats; run train, then repeat")
    first = Tables.of(calls[0], names)
    groups = _groups(first)
    found = [_scores(calls, name) for name in names]
    base = next((one for one in found if one.name == baseline), None)
    rows = pd.DataFrame([_row(one, base, groups) for one in found], columns=COLUMNS)
    up = found[0].metric.greater_is_better
    return rows.sort_values(["value", "experiment"], ascending=[not up, True], ignore_index=True)


def _there(call: Call, name: str) -> bool:
    return name in oof.experiments(call.oof, made=True)


def _groups(tables: Tables) -> np.ndarray:
    """Return the group of each scored clip, of trials both speakers; a clip without a group is one by itself."""
    if "other_group" in tables.folds.columns:
        return tables.folds[["group", "other_group"]].to_numpy(dtype=str)[tables.scored]
    named = tables.folds["group"].where(tables.folds["group"] != "", "\0" + tables.folds["clip_id"])
    return named.to_numpy(dtype=str)[tables.scored]


def _scores(calls: list[Call], name: str) -> Scores:
    problems: list[Problem] = [Tables.of(call, [name]).problem() for call in calls]
    return Scores(name, np.stack([p.decided(p.tables[0]) for p in problems]), problems[0].metric, problems[0].targets)


def _row(one: Scores, base: Scores | None, groups: np.ndarray) -> list[object]:
    values = [float(one.metric(scores, one.targets)) for scores in one.scores]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    row = [one.name, one.value(), *_interval(one.drawn(groups)), spread]
    if base is None or base is one:
        return [*row, *[float("nan")] * 3]
    sign = one.metric.sign
    return [*row, sign * (one.value() - base.value()), *_interval(sign * (one.drawn(groups) - base.drawn(groups)))]


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def describe(calls: list[Call]) -> str:
    """Describe the scored clips in one line."""
    first = Tables.of(calls[0])
    groups, clips = len(np.unique(_groups(first))), int(first.scored.sum())
    n = len(np.unique(first.fold[first.fold >= 0]))
    known = f"{groups} groups" if (first.folds["group"] != "").any() else "no groups known: each clip by itself"
    return f"{calls[0].data.metric}, {len(calls)} x {n} folds, {clips} clips, {known}; 95 % intervals over groups"


def rendered(rows: pd.DataFrame, baseline: str, aligned: Callable[[pd.DataFrame], str]) -> str:
    """Return the table as text."""
    shown = pd.DataFrame({"experiment": rows["experiment"]})
    shown["mean [95 %]"] = [_span(row) for row in rows[["value", "low", "high"]].to_numpy()]
    shown["sd of repeats"] = ["" if np.isnan(v) else f"{v:.4f}" for v in rows["between_repeats"]]
    if not rows["gain"].isna().all():
        gains = rows[["gain", "gain_low", "gain_high"]].to_numpy()
        shown[f"over {baseline} [95 %]"] = ["" if np.isnan(row[0]) else _span(row, "+") for row in gains]
    return aligned(shown)


def _span(row: np.ndarray, sign: str = "") -> str:
    value, low, high = row
    return f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"
