"""The prediction tables of one competition side by side, for blend, stack, submit and score."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.config.call import Call
from tonestack.ensemble import fold_levels, nested_cv
from tonestack.ensemble import made as made_tables
from tonestack.ensemble.blends import BlendSum, Summable
from tonestack.ensemble.problem import Problem
from tonestack.labels import folds, revisions
from tonestack.tables import load, oof
from tonestack.tables.competition import SubmissionFormat
from tonestack.tables.metrics import resolve, without
from tonestack.tables.read import PredictionTable
from tonestack.tables.thresholds import Thresholds
from tonestack.tasks import Task

import numpy as np
import pandas as pd

IN_MEMORY = 1 << 30  # bytes of tables kept; beyond, they are read again for every pass
SEARCHED = 7 << 28  # bytes (1.75 GiB) of scored rows that searches work on; beyond, a random part of the clips


@dataclass(frozen=True)
class TableFacts:
    """The facts kept of a table whose rows are read again for every pass."""

    kind: str
    meta: list[dict[str, Any]]
    notes: list[str]
    has_oof: bool
    test_folds: int


@dataclass
class Tables:
    """Aligned prediction tables of one competition, read one at a time and kept while they are small.

    Rows (clips or trials), labels and columns are those of `tables.rows.Rows`.
    scored (N,): the clips that scores count: verified, folded, with their r0 labels; of very large tables a
    random part that fits into `SEARCHED` bytes. level: bring the OOF rows of a model's folds to one level
    (`fold_levels`).
    """

    folder: Path
    names: tuple[str, ...]
    folds: pd.DataFrame
    test_ids: tuple[str, ...]
    classes: tuple[str, ...]
    task: Task
    metric: str
    fold_mean: str
    labels: tuple[str, ...] = ()
    probabilities: bool = True
    form: SubmissionFormat | None = None
    whole: bool = False
    thresholds: Thresholds | None = None
    level: bool = False
    _kept: dict[str, PredictionTable] = field(default_factory=dict, repr=False)
    _facts: dict[str, TableFacts] = field(default_factory=dict, repr=False)
    _levels: dict[str, np.ndarray | None] = field(default_factory=dict, repr=False)
    _stack: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, call: Call, names: Sequence[str] = (), made: bool = False) -> "Tables":
        """The tables named, or all; `made`: blends and stacks too. No table at all is a `UserError`."""
        folds_path = call.folds / "r0.csv"
        if not folds_path.is_file():
            raise UserError(f"{folds_path}: no folds yet; run make_folds with the same words first")
        rows = call.rows
        chosen = tuple(names) or tuple(oof.experiments(call.oof, made))
        if not chosen:
            raise UserError(f"{call.oof}: no prediction table yet; run train, or put a table into a folder there")
        data = call.data
        sought = data.thresholds.model_dump() if rows.probabilities else {"kind": "half"}
        limits = Thresholds(resolve(data.metric), call.task.one_label, **sought)
        level = call.even_levels and rows.probabilities
        extra = (rows.labels, rows.probabilities, rows.form, rows.whole, limits, level)
        return cls(
            call.oof, chosen, rows.oof, rows.test_ids, rows.columns, call.task, data.metric, data.fold_mean, *extra
        )

    @property
    def normalise(self) -> bool:
        """True if a clip has exactly one label; its row then sums to one."""
        return self.probabilities and self.task.one_label

    @property
    def fold(self) -> np.ndarray:
        """Folds (N,) of the training clips."""
        return self.folds["fold"].to_numpy(dtype=int)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """Groups (N,) of the training clips, or speakers of both sides of trials (N, 2); None where each is alone."""
        columns = [self.folds[c] for c in ("group", "other_group") if c in self.folds.columns]
        if not columns:
            return None
        named = np.stack([folds.named_groups(column).to_numpy(dtype=str) for column in columns], axis=-1)
        code = np.unique(named, return_inverse=True)[1].reshape(named.shape)
        return None if code.max(initial=0) + 1 == code.size else code.squeeze(axis=-1) if len(columns) == 1 else code

    @cached_property
    def scored(self) -> np.ndarray:
        """Mask (N,) of the clips that scores count."""
        mask: np.ndarray = self.folds["verified"].to_numpy(dtype=bool) & (self.fold >= 0)
        if not mask.any():
            raise UserError(f"{self.folder}: the folds table has no verified clip to score on")
        most = SEARCHED // (4 * len(self.names) * len(self.classes))
        if mask.sum() > most:
            rows = np.flatnonzero(mask)
            mask[np.random.default_rng(0).permutation(rows)[most:]] = False
        return mask

    @property
    def targets(self) -> np.ndarray:
        """Targets of all training clips; classes that a submission does not speak of are unknown."""
        labels = self.labels or self.classes
        truth = self.task.row_truth(self.folds["label"].tolist(), labels)
        return truth if self.form is None else without(truth, labels, self.form.spoken(labels))

    def read(self, name: str) -> PredictionTable:
        """One table, aligned."""
        if name not in self._kept:
            ids, folder = self.test_ids, self.folder / name
            one, positive = self.task.one_label, self.probabilities
            table = load.load(folder, self.folds, ids, self.classes, nonnegative=positive, one_label=one)
            self._align(table)
            folds = 0 if table.test is None else len(table.test)
            self._facts[name] = TableFacts(table.kind, table.meta, table.notes, table.oof is not None, folds)
            if self._size(table) * len(self.names) > IN_MEMORY:
                return table
            self._kept[name] = table
        return self._kept[name]

    def _align(self, table: PredictionTable) -> None:
        """Bring a model's folds to one level; made tables are made of such rows already."""
        if not self.level or table.oof is None or table.kind not in ("train", "baseline"):
            return
        if table.name not in self._levels:
            self._levels[table.name] = fold_levels.measured(table, self.task.one_label)
        levels = self._levels[table.name]
        if levels is not None:
            fold_levels.align(table.oof, levels, table.fold, self.task.one_label)

    def facts(self, name: str) -> TableFacts:
        """Return the facts of a table without its rows. The first call reads all tables, once."""
        self._gather()
        return self._facts[name]

    def without_oof(self) -> list[str]:
        """Names of the tables that have no OOF part."""
        return [n for n in self.names if not self.facts(n).has_oof]

    def problem(self) -> Problem:
        """Return the scored clips of all tables as one problem."""
        keep = self.scored
        for name in self.without_oof():
            self.oof(name)  # raises
        metric, targets = resolve(self.metric), self.targets[keep]
        groups = None if self.groups is None else self.groups[keep]
        part = nested_cv.nesting(self.fold, self.groups)[keep]
        more = (self.normalise, self.probabilities, groups, part, self.thresholds)
        return Problem(self._gather(), targets, metric, self.names, *more)

    def limits(self, rows: np.ndarray | None) -> np.ndarray | None:
        """Thresholds (C,) of a table with these OOF rows (N, C), by all scored clips; None: one half."""
        if rows is None or self.thresholds is None or not self.thresholds.decides:
            return None
        there = self.scored & np.isfinite(rows).all(axis=1)
        return self.thresholds.find(rows[there], self.targets[there])

    def _gather(self) -> np.ndarray:
        """One pass over all tables: the scored rows (tables, n, C), and the facts on the way."""
        if self._stack is None:
            keep = self.scored
            stack = np.empty((len(self.names), int(keep.sum()), len(self.classes)), dtype=np.float32)
            for m, name in enumerate(self.names):
                rows = self.read(name).oof
                stack[m] = np.nan if rows is None else rows[keep]
                if self.normalise:
                    stack[m] /= stack[m].sum(axis=-1, keepdims=True)
            self._stack = stack
        return self._stack

    def oof(self, name: str) -> np.ndarray:
        """OOF rows (N, C) of one table."""
        return self._oof(self.read(name))

    def _oof(self, table: PredictionTable) -> np.ndarray:
        if table.oof is None:
            raise UserError(f"{self.folder / table.name}: no OOF part; only equal weights can use it")
        return table.oof

    def decided(self, name: str) -> np.ndarray:
        """Test rows (M, C) of one table, moved by the thresholds of its OOF rows where the metric needs any."""
        test, limits = self.test(name), self.limits(self.read(name).oof)
        return test if self.thresholds is None else self.thresholds.move(test, limits)

    def test(self, name: str) -> np.ndarray:
        """Test rows (M, C) of one table, folds combined as the config says."""
        return self.combine(self._test(self.read(name)))

    def _test(self, table: PredictionTable) -> np.ndarray:
        if table.test is None:
            raise UserError(
                f"{self.folder / table.name}: no test part, yet the competition has {len(self.test_ids)} test clips"
            )
        return table.test

    def combine(self, test: np.ndarray) -> np.ndarray:
        """Test folds (K, M, C) combined as the config says, (M, C)."""
        return oof.combine_folds(test, self.fold_mean, self.normalise)

    def submitted(self, rows: np.ndarray | None, test: np.ndarray | None) -> tuple[list[str], np.ndarray]:
        """Ids and values (R, C) of what a submission may hold: test folds combined, and the OOF rows where it asks.

        Values are moved by the thresholds of the OOF rows where the metric needs any.
        """
        ids, values = ([], []) if test is None else (list(self.test_ids), [self.combine(test)])
        if self.whole and rows is not None:
            there = np.isfinite(rows).all(axis=1)
            ids, values = ids + self.folds["clip_id"][there].tolist(), [*values, rows[there]]
        joined, limits = np.concatenate(values), self.limits(rows)
        return ids, joined if self.thresholds is None else self.thresholds.move(joined, limits)

    def test_stacks(self) -> Iterator[np.ndarray]:
        """Yield all tables of one test fold after the other, each (tables, M, C)."""
        folds = self.test_folds()
        for k in range(folds):
            tables = (self.read(n) for n in self.names)
            yield np.stack([self._test(t)[k] if folds > 1 else self.combine(self._test(t)) for t in tables])

    def test_folds(self) -> int:
        """K where all tables have the same number of test folds, else 1 (each is combined first)."""
        counts = {self.facts(n).test_folds for n in self.names}
        return counts.pop() if len(counts) == 1 else 1

    def blend(
        self, whole: Summable, by_part: Mapping[int, Summable] | None, part: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The blend of all tables, every one read once: OOF rows (N, C) and test rows (K, M, C).

        OOF rows are nested: each clip's by the blend tuned without the clip's part, NaN where part is -1, None without
        `by_part`. A part without a scored clip gets the blend of all clips, which was not tuned on the part either.
        Test rows are blended within every fold; None without a test set.
        """
        parts = [] if by_part is None else [int(k) for k in np.unique(part[part >= 0])]
        rows = {k: BlendSum((by_part or {}).get(k, whole)) for k in parts}
        test = [BlendSum(whole) for _ in range(self.test_folds())] if self.test_ids else []
        for m, name in enumerate(self.names):
            table = self.read(name)
            for k, total in rows.items():
                total.add(m, self._oof(table)[part == k])
            for k, total in enumerate(test):
                total.add(m, self._test(table)[k] if len(test) > 1 else self.combine(self._test(table)))
        nested = np.full((len(part), len(self.classes)), np.nan, dtype=np.float32) if by_part is not None else None
        for k, total in rows.items():
            nested[part == k] = total.result()  # type: ignore[index]
        return nested, np.stack([total.result() for total in test]) if test else None

    def write(self, name: str, rows: np.ndarray | None, test: np.ndarray | None, receipt: dict[str, Any]) -> None:
        """Write a made table fold by fold, like a model's. rows (N, C) or None, test (K, M, C) or None.

        Its receipt names the tables at hand as its sources, with their fingerprints.
        """
        receipt = receipt | {"sources": {n: made_tables.content(self.folder / n) for n in self.names}}
        folds = np.unique(self.fold[self.fold >= 0])
        for position, k in enumerate(folds):
            ids: list[str] = []
            values: list[np.ndarray] = []
            parts: list[str] = []
            if rows is not None:
                here = (self.fold == k) & np.isfinite(rows).all(axis=1)
                ids, values, parts = self.folds["clip_id"][here].tolist(), [rows[here]], ["oof"] * int(here.sum())
            if test is not None:
                one = test[position] if len(test) == len(folds) else self.combine(test)
                ids, values, parts = ids + list(self.test_ids), [*values, one], parts + ["test"] * len(one)
            oof.write_fold(self.folder / name, int(k), ids, parts, np.concatenate(values), self.classes, receipt)

    @staticmethod
    def _size(table: PredictionTable) -> int:
        return sum(a.nbytes for a in (table.oof, table.test) if a is not None)


def to_join(call: Call, named: Sequence[str]) -> tuple[str, ...]:
    """The tables that blend and stack join: those named, else strangers' tables and ours of the call's revision.

    Models of other revisions, such as the scouts of the label loop, would be weaker copies of these. Where no model
    of the revision is there, all tables are joined.
    """
    if named:
        return tuple(named)
    revision = call.words.revision or revisions.chosen(call.folds)
    every = oof.experiments(call.oof)
    own = {name for name in every if oof.kind_of(call.oof / name) == "train"}
    current = {name for name in own if name.rpartition("@")[2] == revision}
    return tuple(name for name in every if name not in own or name in current or not current)


def made_name(kind: str, names: Sequence[str]) -> str:
    """Name of a made table: `blend@pseudo2`; `mixed` where the revisions differ or are unknown."""
    found = {n.rpartition("@")[2] if "@" in n else "mixed" for n in names}
    return f"{kind}@{found.pop() if len(found) == 1 else 'mixed'}"
