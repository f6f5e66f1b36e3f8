"""Soft labels of unlabelled recordings: what the teachers of one holdout, none of which saw its fold, say of the pool.

Every model leaves `oof/<name>/<experiment>/pool<k>.parquet`: one row per piece of the pool, `recording, start, end` and
a probability per class. A revision's receipt names the teachers (`pool`), and each holdout's students read their files.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, kept_hash

import numpy as np
import pandas as pd

PLACE = ["recording", "start", "end"]


@dataclass(frozen=True)
class PoolLabels:
    """The pool of one holdout: the teachers' files and how their probabilities become targets.

    share: of labelled crops that are mixed with a piece. drop_path: of networks that have it; None: their own.
    The other settings: `StudentParams`, of this round.
    """

    files: tuple[Path, ...]
    share: float
    power: float
    cut: float
    least: float
    draw: str
    drop_path: float | None = None

    @classmethod
    def of(cls, files: Sequence[Path], settings: dict[str, Any]) -> "PoolLabels":
        """From the part `settings` of a receipt."""
        return cls(
            tuple(files), **{key: settings[key] for key in ("share", "power", "cut", "least", "draw", "drop_path")}
        )

    @property
    def fingerprint(self) -> str:
        """Content hash of the files, and the settings."""
        settings = {key: value for key, value in asdict(self).items() if key != "files"}
        return fingerprint([[kept_hash(path) for path in self.files], settings])

    def read(self, classes: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """Return the pieces (`recording, start, end`), their targets (n, C) and the weights (n,) they are drawn by.

        Targets are the teachers' mean probability, taken to the power, small ones set to 0; pieces that none of the
        teachers is sure enough of, or that cannot be drawn, are left out.
        """
        tables = [read(path, classes) for path in self.files]
        places = tables[0][PLACE]
        if any(not places.equals(table[PLACE]) for table in tables[1:]):
            raise UserError(f"{self.files[0]}: the teachers' tables are of other pieces of the pool; run student again")
        mean = np.mean([table[list(classes)].to_numpy(np.float32) for table in tables], axis=0)
        targets = np.where(mean < self.cut, 0.0, mean**self.power).astype(np.float32)
        weights = targets.sum(axis=1) if self.draw == "confident" else np.ones(len(targets), np.float32)
        kept = (mean.max(axis=1, initial=0) >= self.least) & (weights > 0)
        return places[kept].reset_index(drop=True), targets[kept], weights[kept]


def read(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read one teacher's table; damage is a `UserError`."""
    try:
        table = pd.read_parquet(path, columns=[*PLACE, *classes])
    except (OSError, ValueError, KeyError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({why}); delete it and run student again") from None
    if not np.isfinite(table[list(classes)].to_numpy()).all():
        raise UserError(f"{path}: holds values that are no numbers; delete it and run student again")
    return table
