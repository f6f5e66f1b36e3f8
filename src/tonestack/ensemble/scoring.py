"""Test labels, and the scores of tables and submission files on them. Only `score` and studies import this module."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.competition.csvs import flags, read_table
from tonestack.config.call import Call
from tonestack.tables.competition import SubmissionFormat
from tonestack.tables.metrics import Metric, without
from tonestack.tasks import Task

import numpy as np
import pandas as pd

USAGES = ("Public", "Private")


@dataclass(frozen=True)
class Headings:
    """The column names under which a scoring csv may have its clips and labels, the likeliest first."""

    clip: tuple[str, ...] = ("clip_id", "fname")
    label: tuple[str, ...] = ("label", "labels")

    @classmethod
    def of(cls, call: Call) -> "Headings":
        """The default names, those of the reader's settings, and those of the sample submission."""
        reader, form = call.data.reader, call.competition().submission
        named = form is not None and form.style in ("label", "labels", "set")
        clip = [reader.get("test_clip"), reader.get("clip"), reader.get("id_column"), form.key if form else None]
        label = [reader.get("label"), reader.get("label_column"), *(form.rest if form and named else ())]
        return cls((*filter(None, clip), *cls.clip), (*filter(None, label), *cls.label))


def read(
    source: Path | pd.DataFrame, classes: Sequence[str] | None, task: Task, headings: Headings = Headings()
) -> pd.DataFrame:
    """Read a scoring csv: `clip_id, label, usage` of the scored clips, usage `Public` or `Private`.

    Columns are found by `headings`, and optionally `usage` (without it all rows are Public), without regard to case.
    Where a clip may have several labels, a column of 0 and 1 for every class may stand for the column of labels.
    `Ignored` rows are left out, and rows without a label, unless a clip may have several: then nothing is there, and
    `?*` says that nobody knows. A reader that knows the test labels without a csv passes the table itself. Faults are
    `UserError` naming column or row. classes: None leaves the labels unchecked.
    """
    if isinstance(source, pd.DataFrame):
        return _checked(source, Path("test labels"), classes, task)
    path = source
    table = read_table(path)
    key, label, use = (_column(path, table, names) for names in (headings.clip, headings.label, ("usage",)))
    if label is None and not task.one_label and classes and set(classes) <= set(table.columns):
        table, label = table.assign(label=_from_columns(path, table, classes)), "label"
    if key is None or label is None:
        wanted = f"{' or '.join(dict.fromkeys(headings.clip))} and {' or '.join(dict.fromkeys(headings.label))}"
        raise UserError(f"{path}: needs the columns {wanted}; it has {', '.join(table.columns)}")
    _refuse_unnamed_usage(path, table, use)
    usage = table[use].str.capitalize() if use else "Public"
    table = pd.DataFrame({"clip_id": table[key], "label": table[label], "usage": usage})
    unknown = table[~table["usage"].isin([*USAGES, "Ignored", ""])]
    for row, value in unknown["usage"].items():
        raise UserError(f"{path}: row {row}: usage '{value}' is not Public, Private or Ignored")
    if not task.one_label:
        table["label"] = table["label"].str.replace(r"\s*,\s*", ",", regex=True)
    table = table[table["usage"].isin(USAGES) & ((table["label"] != "") | (not task.one_label))]
    if table.empty:
        raise UserError(f"{path}: no row is Public or Private and has a label, so there is nothing to score")
    return _checked(table, path, classes, task)


def lacking(path: Path, clips: Sequence[str], headings: Headings) -> str:
    """A note on the clips of a submission that a scoring csv does not name, even as Ignored; empty if there is none."""
    table = read_table(path)
    key = _column(path, table, headings.clip)
    named = set(table[key]) if key else set(clips)
    lost = [clip for clip in clips if clip not in named]
    return (
        f"{path}: has no row for {len(lost)} of {len(clips)} clips of the submission, first '{lost[0]}'; "
        "they are not scored"
        if lost
        else ""
    )


def _from_columns(path: Path, table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """The labels of every row, from a column of 0 and 1 per class."""
    there = np.array([flags(table, name, path) for name in classes], dtype=bool)  # (C, n)
    return [",".join(np.array(classes, dtype=object)[row]) for row in there.T]


def _column(path: Path, table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Return the column that has one of these names, spelt so or in other case; None if there is none."""
    for name in dict.fromkeys(names):
        if name in table.columns:
            return name
        alike = [column for column in table.columns if column.casefold() == name.casefold()]
        if len(alike) > 1:
            raise UserError(f"{path}: the columns {' and '.join(alike)} differ in case alone; rename one to {name}")
        if alike:
            return str(alike[0])
    return None


def _refuse_unnamed_usage(path: Path, table: pd.DataFrame, use: str | None) -> None:
    """Refuse a column of Public and Private under another name: all rows would count as Public."""
    for name in table.columns if use is None else ():
        found = set(table[name].str.capitalize()) - {""}
        if found and found <= {*USAGES, "Ignored"}:
            raise UserError(f"{path}: the column '{name}' says {' and '.join(sorted(found))}; rename it to usage")


def _checked(table: pd.DataFrame, path: Path, classes: Sequence[str] | None, task: Task) -> pd.DataFrame:
    twice = table[table["clip_id"].duplicated()]
    for row, name in twice["clip_id"].items():
        raise UserError(f"{path}: row {row}: clip '{name}' stands twice")
    if classes is None:
        return table.reset_index(drop=True)
    for row, text in table["label"].drop_duplicates().items():
        try:
            task.row_truth([text], tuple(classes))
        except UserError as error:
            raise UserError(f"{path}: row {row}: {error}") from None
    return table.reset_index(drop=True)


def score(
    metric: Metric,
    scores: np.ndarray,
    ids: Sequence[str],
    labels: pd.DataFrame,
    classes: Sequence[str],
    task: Task,
    form: SubmissionFormat | None = None,
) -> dict[str, float]:
    """The metric of scores (M, C) of clips `ids` for each usage: `{"public": ..., "private": ...}`, NaN if none.

    form: of the submission; classes that it does not speak of are left out.
    """
    where = pd.Index(list(ids)).get_indexer(pd.Index(labels["clip_id"]))
    if (where < 0).any():
        raise UserError(f"the predictions have no row for clip '{labels['clip_id'][int((where < 0).argmax())]}'")
    targets = task.row_truth(labels["label"].tolist(), tuple(classes)) if len(labels) else np.zeros(0, dtype=int)
    targets = targets if form is None else without(targets, classes, form.spoken(classes))
    result = {}
    for usage in USAGES:
        rows = (labels["usage"] == usage).to_numpy()
        value = float(metric(scores[where[rows]], targets[rows])) if rows.any() else float("nan")
        result[usage.lower()] = value
    return result
