"""Submission files in exactly the competition's format, checked before they are written; and their log."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import read_csv, write_csv
from tonestack.tables.competition import SubmissionFormat

import numpy as np
import pandas as pd

NUMBERS = ("scores", "raw", "probability", "pairs")  # styles whose cells are numbers


def render(
    form: SubmissionFormat,
    test_ids: Sequence[str],
    classes: Sequence[str],
    probabilities: np.ndarray,
    same_rows: bool = False,
) -> pd.DataFrame:
    """The submission table for probabilities or scores (M, C): every row of the sample, in its order.

    A row that is missing, a matrix of zeros, constants or NaN, or a label the format cannot hold is a `UserError`.
    same_rows: every clip may have the same row (a class prior).
    """
    check_matrix(probabilities, form.style != "raw", same_rows)
    test_ids, probabilities = pool(form, test_ids, probabilities)
    where = pd.Index(list(test_ids)).get_indexer(pd.Index(form.clips))
    if (where < 0).any():
        raise UserError(f"sample submission: clip '{form.clips[int((where < 0).argmax())]}' is not in the test set")
    rows = probabilities[where]
    if form.style == "pairs":
        values = rows[_places(form, classes)]
        return pd.DataFrame({form.key: form.ids, form.rest[0]: values}, columns=list(form.columns))
    if form.style == "probability":
        shares = rows / rows.sum(axis=1, keepdims=True)
        table = pd.DataFrame({form.key: form.ids, form.rest[0]: shares[:, list(classes).index(form.positive)]})
        return table[list(form.columns)]
    if form.style in ("scores", "raw"):
        return _score_columns(form, classes, rows)
    key, column = form.key, form.rest[0]
    best = np.argsort(-rows, axis=1, kind="stable")[:, : form.k if form.style == "labels" else 1]
    if form.style == "labels" and any(" " in c for c in classes):
        raise UserError("sample submission: labels are separated by blanks, but a class name holds a blank")
    names = np.asarray(classes, dtype=object)[best]
    return pd.DataFrame({key: form.ids, column: [" ".join(row) for row in names]}, columns=list(form.columns))


def pool(form: SubmissionFormat, ids: Sequence[str], scores: np.ndarray) -> tuple[Sequence[str], np.ndarray]:
    """What the submission's rows are about, and its scores: the maximum over the clips of each where they are pooled.

    ids: the clips of scores (M, C).
    """
    if not form.pooled:
        return ids, scores
    names = np.array([form.pooled.get(clip, clip) for clip in ids], dtype=object)
    best = pd.DataFrame(scores).groupby(names, sort=False).max()
    return list(best.index), best.to_numpy()


def _places(form: SubmissionFormat, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Row in `form.clips` and column in `classes` of every pair."""
    row = {clip: number for number, clip in enumerate(form.clips)}
    column = {name: number for number, name in enumerate(classes)}
    missing = next((name for _, name in form.pairs if name not in column), None)
    if missing is not None:
        raise UserError(f"sample submission: '{missing}' is none of the classes")
    return np.array([row[clip] for clip, _ in form.pairs]), np.array([column[name] for _, name in form.pairs])


def _score_columns(form: SubmissionFormat, classes: Sequence[str], rows: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(classes))
    missing = [c for c in form.rest if c not in table.columns]
    if missing:
        raise UserError(f"sample submission: column '{missing[0]}' is none of the classes")
    table.insert(0, form.key, list(form.ids))
    return table[list(form.columns)]


def check_matrix(probabilities: np.ndarray, positive: bool = True, same_rows: bool = False) -> None:
    """Refuse implausible scores: NaN, all zeros (where values must be positive), every row the same.

    same_rows: every row may be the same.
    """
    if not len(probabilities):
        raise UserError("no test clip to submit")
    if not np.isfinite(probabilities).all():
        raise UserError("the predictions hold NaN or infinite values; nothing written")
    if positive and not (probabilities > 0).any(axis=1).all():
        raise UserError("the predictions hold a row of zeros; nothing written")
    if not same_rows and len(probabilities) > 1 and (probabilities == probabilities[0]).all():
        raise UserError("the predictions are the same for every clip; nothing written")


def check(table: pd.DataFrame, form: SubmissionFormat, classes: Sequence[str], same_rows: bool = False) -> None:
    """Check a submission table against the sample's format; the first fault is a `UserError` naming its row."""
    if list(table.columns) != list(form.columns):
        raise UserError(f"submission: columns {list(table.columns)} instead of {list(form.columns)}")
    if table[form.key].tolist() != list(form.ids):
        raise UserError("submission: rows are missing, doubled or not in the sample's order")
    if form.style in ("probability", "pairs"):
        values = table[list(form.rest)].to_numpy(dtype=float)
        check_matrix(values, False, same_rows)
        if ((values < 0) | (values > 1)).any():
            raise UserError(f"submission: '{form.rest[0]}' is no probability in every row")
        return
    if form.style in ("scores", "raw"):
        check_matrix(table[list(form.rest)].to_numpy(dtype=float), form.style == "scores", same_rows)
        return
    expected = min(form.k, len(classes)) if form.style == "labels" else 1
    known = set(classes)
    for row, text in enumerate(table[form.rest[0]]):
        labels = str(text).split(" ") if form.style == "labels" else [str(text)]
        if len(labels) != expected or len(set(labels)) != expected or not known.issuperset(labels):
            raise UserError(
                f"submission: row {row + 2} ('{form.ids[row]}') is {text!r}, not {expected} different labels"
            )


def write(
    path: Path,
    form: SubmissionFormat,
    test_ids: Sequence[str],
    classes: Sequence[str],
    probabilities: np.ndarray,
    same_rows: bool = False,
) -> None:
    """Render, check and write a submission; nothing is written if a check fails."""
    table = render(form, test_ids, classes, probabilities, same_rows)
    check(table, form, classes, same_rows)
    write_csv(path, table, exact=True)


def read(path: Path, form: SubmissionFormat, classes: Sequence[str]) -> np.ndarray:
    """Read a submission back as scores (`form.clips`, C): labels score by place; what it does not name scores 0."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, compression=None)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if form.style in NUMBERS:
        table = table.astype(dict.fromkeys(form.rest, float))
    try:
        check(table, form, classes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if form.style == "probability":
        share = table[form.rest[0]].to_numpy(dtype=np.float64)[:, None]
        return np.where(np.array(classes) == form.positive, share, 1 - share)
    if form.style == "pairs":
        values = np.zeros((len(form.clips), len(classes)))
        values[_places(form, classes)] = table[form.rest[0]].to_numpy(dtype=np.float64)
        return values
    if form.style in ("scores", "raw"):
        return table[list(classes)].to_numpy(dtype=np.float64)
    position = {c: i for i, c in enumerate(classes)}
    scores = np.zeros((len(table), len(classes)))
    for row, text in enumerate(table[form.rest[0]]):
        for rank, label in enumerate(text.split(" ") if form.style == "labels" else [text]):
            scores[row, position[label]] = 1.0 / (1 + rank)
    return scores


def log(path: Path, entry: dict[str, Any]) -> None:
    """Add one line to the log of submissions: when, and `entry`; a new key is a new column."""
    now = pd.DataFrame([{"when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **entry}])
    write_csv(path, pd.concat([read_log(path), now]) if path.is_file() else now)


def read_log(path: Path) -> pd.DataFrame:
    """The log as text."""
    return read_csv(path)
