"""Loads prediction tables, ours and strangers', aligned by clip and class: what blends, stackers and scores read."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tonestack.base.errors import UserError, nearest
from tonestack.tables.oof import OWN, experiments, receipts
from tonestack.tables.read import PredictionTable, TableReader

import numpy as np
import pandas as pd

DOUBT = 1e-6  # what a foreign table's hard zeros become, as a share of their row


def load(
    folder: Path,
    folds: pd.DataFrame,
    test_ids: Sequence[str],
    classes: Sequence[str],
    *,
    parts: Iterable[str] = ("oof", "test"),
    nonnegative: bool = True,
    taught: bool = True,
    one_label: bool = True,
) -> PredictionTable:
    """Read a native or foreign table and align it; see `PredictionTable` for shapes.

    folds: the folds table (`clip_id, verified, fold`; fold -1 is never predicted). test_ids: M names, may be
    empty. parts: parts to read. nonnegative: refuse values below 0. taught: with the predictions of test clips
    whose pseudo-labels a fold's model was trained on; else they are NaN. one_label: False if a clip may have several
    labels. Every fault of a table (a missing fold, a missing, repeated or non-finite row, an unknown class, another
    fold's clip, a damaged file) is a `UserError` naming file and row.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such prediction table{nearest(folder.name, experiments(folder.parent, True))}")
    native = receipts(folder)
    if not native and (folder / OWN).exists():
        raise UserError(f"{folder}: no fold of it is finished; make it again")
    reader = TableReader(folder, folds, list(test_ids), tuple(classes), set(parts), nonnegative, one_label, taught)
    if native:
        reader.native(native)
    else:
        reader.foreign()
    table = reader.finish()
    if table.kind == "foreign" and nonnegative:
        for rows in (table.oof, table.test):
            if rows is not None:
                soften(rows, one_label)
    return table


def soften(rows: np.ndarray, one_label: bool = True) -> None:
    """Lift rows (..., C) that hold a zero to `DOUBT`, in place; with several labels per clip, bound ones likewise.

    Tables from elsewhere are often rounded. In a geometric mean one hard zero would outvote all other models.
    """
    lowest = DOUBT * rows.sum(axis=-1, keepdims=True) if one_label else np.full_like(rows[..., :1], DOUBT)
    hard = (rows == 0).any(axis=-1, keepdims=True)
    np.copyto(rows, np.maximum(rows, lowest), where=hard)
    if not one_label:
        np.copyto(rows, np.float32(1 - DOUBT), where=rows == 1)
