"""The tables of one competition, gathered for blend, stack, submit and score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tonestack import oof
from tonestack.ensemble.blends import Blend, row_normal
from tonestack.ensemble.problem import Problem, targets_of
from tonestack.errors import UserError
from tonestack.metrics import resolve
from tonestack.oof import Predictions
from tonestack.run import Run

IN_MEMORY = 2 << 30  # bytes of tables kept; beyond, they are read again for every pass


@dataclass
class Tables:
    """Aligned prediction tables of one competition, read one at a time and kept while they are small.

    judged (N,): the clips that scores count: verified, folded, with their r0 labels.
    """

    folder: Path
    names: tuple[str, ...]
    folds: pd.DataFrame
    test_ids: tuple[str, ...]
    classes: tuple[str, ...]
    task: str
    metric: str
    fold_mean: str
    _kept: dict[str, Predictions] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, run: Run, names: Sequence[str] = (), made: bool = False) -> "Tables":
        """The tables named, or all; `made`: blends and stacks too. No table at all is a `UserError`."""
        competition, folds_path = run.competition(), run.folds / "r0.csv"
        if not folds_path.is_file():
            raise UserError(f"{folds_path}: no folds yet; run make_folds with the same words first")
        text: Any = {"clip_id": str, "label": str, "group": str}
        folds = pd.read_csv(folds_path, dtype=text, keep_default_na=False)
        chosen = tuple(names) or tuple(oof.experiments(run.oof, made))
        if not chosen:
            raise UserError(f"{run.oof}: no prediction table yet; train, or put a table into a folder there")
        test_ids = tuple(competition.test["clip_id"])
        data = run.data
        return cls(run.oof, chosen, folds, test_ids, competition.classes, data.task, data.metric, data.fold_mean)

    @property
    def normalise(self) -> bool:
        """Whether a clip has exactly one label."""
        return self.task != "multilabel"

    @property
    def fold(self) -> np.ndarray:
        """Folds (N,) of the training clips."""
        return self.folds["fold"].to_numpy(dtype=int)

    @property
    def judged(self) -> np.ndarray:
        """Mask (N,) of the clips that scores count."""
        mask: np.ndarray = self.folds["verified"].to_numpy(dtype=bool) & (self.fold >= 0)
        if not mask.any():
            raise UserError(f"{self.folder}: the folds table has no verified clip to judge on")
        return mask

    @property
    def targets(self) -> np.ndarray:
        """Targets of all training clips."""
        return targets_of(self.folds["label"].tolist(), self.classes, self.task)

    def read(self, name: str) -> Predictions:
        """One table, aligned."""
        if name not in self._kept:
            table = oof.load(self.folder / name, self.folds, self.test_ids, self.classes)
            if self._size(table) * len(self.names) > IN_MEMORY:
                return table
            self._kept[name] = table
        return self._kept[name]

    def without_oof(self) -> list[str]:
        """Names of the tables that cannot be judged."""
        return [n for n in self.names if self.read(n).oof is None]

    def problem(self) -> Problem:
        """The judged clips of all tables as one question."""
        keep = self.judged
        stack = np.empty((len(self.names), int(keep.sum()), len(self.classes)), dtype=np.float32)
        for m, name in enumerate(self.names):
            stack[m] = self.oof(name)[keep]
            if self.normalise:
                stack[m] = row_normal(stack[m])
        return Problem(stack, self.targets[keep], resolve(self.metric), self.names, self.normalise)

    def oof(self, name: str) -> np.ndarray:
        """OOF rows (N, C) of one table."""
        rows = self.read(name).oof
        if rows is None:
            raise UserError(f"{self.folder / name}: no OOF part; only equal weights can use it")
        return rows

    def test(self, name: str) -> np.ndarray:
        """Test rows (M, C) of one table, folds combined as the config says."""
        rows = self.read(name).test
        if rows is None:
            raise UserError(
                f"{self.folder / name}: no test part, yet the competition has {len(self.test_ids)} test clips"
            )
        return self.combine(rows)

    def combine(self, test: np.ndarray) -> np.ndarray:
        """Test folds (K, M, C) combined as the config says, (M, C)."""
        return oof.combine_folds(test, self.fold_mean, self.normalise)

    def test_stacks(self) -> Iterator[np.ndarray]:
        """All tables of one test fold after the other, each (tables, M, C)."""
        folds = self.test_folds()
        for k in range(folds):
            yield np.stack([self.test(n) for n in self.names] if folds == 1 else list(self._test_fold(k)))

    def test_folds(self) -> int:
        """K where all tables have the same number of test folds, else 1 (each is combined first)."""
        counts = {0 if (t := self.read(n).test) is None else len(t) for n in self.names}
        return counts.pop() if len(counts) == 1 else 1

    def blend_test(self, blend: Blend) -> np.ndarray | None:
        """The blend applied within every fold's test tables (K, M, C); None where there is no test set."""
        if not self.test_ids:
            return None
        folds = self.test_folds()
        if folds == 1:
            return blend(self.test(n) for n in self.names)[None]
        return np.stack([blend(self._test_fold(k)) for k in range(folds)])

    def blend_oof(self, by_part: dict[int, Blend], part: np.ndarray, whole: Blend) -> np.ndarray:
        """Nested OOF rows (N, C): every clip by the blend tuned without its part; NaN where part is -1.

        A part without a judged clip tuned nothing: it gets the blend of all clips, which has not seen it either.
        """
        result = np.full((len(part), len(self.classes)), np.nan, dtype=np.float32)
        for k in np.unique(part[part >= 0]):
            rows = part == k
            result[rows] = by_part.get(int(k), whole)(self.oof(n)[rows] for n in self.names)
        return result

    def write(self, name: str, rows: np.ndarray | None, test: np.ndarray | None, receipt: dict[str, Any]) -> None:
        """Write a made table fold by fold, as if a model had made it. rows (N, C) or None, test (K, M, C) or None."""
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

    def _test_fold(self, k: int) -> Iterator[np.ndarray]:
        for name in self.names:
            rows = self.read(name).test
            if rows is None:
                self.test(name)  # raises
            else:
                yield rows[k]

    @staticmethod
    def _size(table: Predictions) -> int:
        return sum(a.nbytes for a in (table.oof, table.test) if a is not None)


def made_name(kind: str, names: Sequence[str]) -> str:
    """Name of a made table: `blend@pseudo2`; `mixed` where the revisions differ or are unknown."""
    revisions = {n.rpartition("@")[2] if "@" in n else "mixed" for n in names}
    return f"{kind}@{revisions.pop() if len(revisions) == 1 else 'mixed'}"
