"""Test labels, and the scores of tables and submission files on them. Only `score` and studies import this module."""

from collections.abc import Sequence
from pathlib import Path

from tonestack.base.errors import UserError, nearest
from tonestack.competition.csvs import read_table
from tonestack.tables.metrics import Metric
from tonestack.tasks import Task

import numpy as np
import pandas as pd

USAGES = ("Public", "Private")


def read(source: Path | pd.DataFrame, classes: Sequence[str], task: Task) -> pd.DataFrame:
    """Read a scoring csv: `clip_id, label, usage` of the scored clips, usage `Public` or `Private`.

    Columns `fname` or `clip_id`, `label` or `labels`, and optionally `usage` (without it all rows are Public).
    `Ignored` rows and rows without a label are left out. A reader that knows the test labels without a csv passes the
    table itself. Faults are `UserError` naming column or row.
    """
    if isinstance(source, pd.DataFrame):
        return _checked(source, Path("test labels"), classes, task)
    path = source
    table = read_table(path)
    key = next((c for c in ("clip_id", "fname") if c in table.columns), None)
    label = next((c for c in ("label", "labels") if c in table.columns), None)
    if key is None or label is None:
        raise UserError(f"{path}: needs the columns fname (or clip_id) and label; it has {', '.join(table.columns)}")
    usage = table["usage"].str.capitalize() if "usage" in table.columns else "Public"
    table = pd.DataFrame({"clip_id": table[key], "label": table[label], "usage": usage})
    unknown = table[~table["usage"].isin([*USAGES, "Ignored", ""])]
    for row, value in unknown["usage"].items():
        raise UserError(f"{path}: row {row}: usage '{value}' is not Public, Private or Ignored")
    if not task.one_label:
        table["label"] = table["label"].str.replace(r"\s*,\s*", ",", regex=True)
    table = table[table["usage"].isin(USAGES) & (table["label"] != "")]
    return _checked(table, path, classes, task)


def _checked(table: pd.DataFrame, path: Path, classes: Sequence[str], task: Task) -> pd.DataFrame:
    twice = table[table["clip_id"].duplicated()]
    for row, name in twice["clip_id"].items():
        raise UserError(f"{path}: row {row}: clip '{name}' stands twice")
    for row, text in table["label"].items():
        for label in task.label_lists(pd.Series([text])).iloc[0]:
            if label not in classes:
                raise UserError(f"{path}: row {row}: unknown label '{label}'{nearest(label, classes)}")
    return table.reset_index(drop=True)


def score(
    metric: Metric, scores: np.ndarray, ids: Sequence[str], labels: pd.DataFrame, classes: Sequence[str], task: Task
) -> dict[str, float]:
    """The metric of scores (M, C) of clips `ids` for each usage: `{"public": ..., "private": ...}`, NaN if none."""
    where = pd.Index(list(ids)).get_indexer(pd.Index(labels["clip_id"]))
    if (where < 0).any():
        raise UserError(f"the predictions have no row for clip '{labels['clip_id'][int((where < 0).argmax())]}'")
    targets = task.row_truth(labels["label"].tolist(), tuple(classes)) if len(labels) else np.zeros(0, dtype=int)
    result = {}
    for usage in USAGES:
        rows = (labels["usage"] == usage).to_numpy()
        value = float(metric(scores[where[rows]], targets[rows])) if rows.any() else float("nan")
        result[usage.lower()] = value
    return result
