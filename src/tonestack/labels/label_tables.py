"""The label tables of one call: every file of folds/<name>/ is read once, and again only where it has changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tonestack.base.files import file_state
from tonestack.labels import corrections, folds, revisions, training_labels

import pandas as pd


class LabelTables:
    """The folds table, the corrections and the revisions of `folds/<name>/`. Tables are shared: never change one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: dict[str, tuple[Any, pd.DataFrame]] = {}

    @property
    def folds(self) -> pd.DataFrame:
        """`clip_id, label, verified, group, fold` of the training clips, with the given labels."""
        return self._read("folds", ("r0.csv",), lambda: folds.read(self.folder))

    @property
    def corrections(self) -> pd.DataFrame:
        """A person's corrections; an empty table where there are none."""
        if not (self.folder / corrections.FILE).is_file():
            return pd.DataFrame(columns=corrections.COLUMNS)
        files = ("r0.csv", corrections.FILE)
        return self._read("corrections", files, lambda: corrections.read(self.folder, self.folds))

    @property
    def corrected_folds(self) -> pd.DataFrame:
        """The folds table for cleaning: corrected labels are verified."""
        return corrections.on_table(self.folds, self.corrections)

    def revision(self, name: str) -> pd.DataFrame:
        """The rows of a label revision, corrections applied: the labels that each holdout may train on."""
        files = ("r0.csv", corrections.FILE, f"{name}.csv", revisions.soft_path(self.folder, name).name)
        return self._read(f"revision {name}", files, lambda: self._rows(name))

    def _rows(self, name: str) -> pd.DataFrame:
        given = name == "r0"
        rows = training_labels.given(self.folds) if given else training_labels.read_revision(self.folder, name)
        corrected = self.corrections
        return rows if corrected.empty else corrections.on_rows(rows, self.folds, corrected)

    def _read(self, what: str, files: tuple[str, ...], read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        now = [_state(self.folder / name) for name in files]
        known = self._kept.get(what)
        if known is None or known[0] != now:
            self._kept[what] = known = now, read()
        return known[1]


def _state(path: Path) -> tuple[int, ...]:
    """Size, times and inode of a file; empty if it is missing."""
    return file_state(path.stat()) if path.is_file() else ()
