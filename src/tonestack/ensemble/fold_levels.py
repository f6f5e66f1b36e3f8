"""Levels of fold models: OOF rows of different folds are brought to one scale by what all say of the same other rows.

Each fold's network has a level of its own for every class: the log odds that it gives on average. A metric that
compares rows of one class, such as the macro AUC, then compares rows of networks that are not of one scale. Test rows
are not concerned, as they are a mean of all networks. The networks of all folds predict the same test rows (or, where
they are few, the same unlabelled recordings), so their means there say how far apart the levels are. No label takes
part in the move of a row against others of its class.
"""

from tonestack.tables.oof import LEVEL_LEAST, from_logs, level, to_logs
from tonestack.tables.read import PredictionTable

import numpy as np


def measured(table: PredictionTable, one_label: bool) -> np.ndarray | None:
    """Levels (K, C) of a trained table's folds on the test rows, or as their receipts have them; None if unknown."""
    if table.test is not None and table.test.shape[1] >= LEVEL_LEAST:
        return np.stack([level(fold, one_label) for fold in table.test])
    said = [meta.get("levels", {}) for meta in table.meta]
    same = len({own.get("on") for own in said}) == 1 and all(said)  # of the same recordings
    return np.array([own["values"] for own in said]) if same else None


def align(rows: np.ndarray, levels: np.ndarray, fold: np.ndarray, one_label: bool) -> None:
    """Move OOF rows (N, C) in place, by one number per fold and class: every fold's model then has the mean level.

    levels: (K, C) of the folds' models on the same rows (`tables.oof.level`), in the order of the folds; fold: (N,),
    -1 for none. Nothing is moved where a fold's level is not known.
    """
    folds = np.unique(fold[fold >= 0])
    if len(levels) != len(folds):
        return
    for k, move in zip(folds, (levels.mean(axis=0) - levels).astype(np.float32), strict=True):
        here = fold == k
        moved = from_logs(to_logs(rows[here], one_label) + move, one_label)
        rows[here] = moved / moved.sum(axis=1, keepdims=True) if one_label else moved


def scaled_like(rows: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """OOF rows (N, C) whose log odds have the mean and the deviation per class of another table's (N, C).

    The order of the rows of a class stays; a nested choice can then join rows of several tables. Clips may have several
    labels. No row may be NaN.
    """
    logs, like = (to_logs(table, one_label=False).astype(np.float64) for table in (rows, reference))
    scale = like.std(axis=0) / np.maximum(logs.std(axis=0), 1e-6)
    return from_logs((logs - logs.mean(axis=0)) * scale + like.mean(axis=0), one_label=False).astype(np.float32)
