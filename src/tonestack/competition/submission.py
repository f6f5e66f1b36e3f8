"""Submission files in exactly the competition's format, checked before they are written; and their log."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import read_csv, write_csv
from tonestack.tables.competition import SubmissionFormat
from tonestack.tables.oof import EDGE

import numpy as np
import pandas as pd

NUMBERS = ("scores", "raw", "probability", "pairs")  # styles whose cells are numbers
PAIRED = ("pairs", "flags")  # styles with one clip and class a row
SURE = ("labels", "label", "probability")  # styles that say something of every clip: a row of zeros is a fault
LISTED = ("labels", "set")  # styles whose cells hold labels separated by blanks
FLAGS = ("False", "True")
FIELD = re.compile(r"\{(\w+)\}")
SUM = re.compile(r"(\d+)\*(\d+)\+(\d+)")


def render(
    form: SubmissionFormat,
    test_ids: Sequence[str],
    classes: Sequence[str],
    probabilities: np.ndarray,
    same_rows: bool = False,
) -> pd.DataFrame:
    """The submission table for probabilities or scores (M, C): every row of the sample, in its order.

    A row that is missing, a matrix of zeros, constants or NaN, or a label the format cannot hold is a `UserError`.
    same_rows: every clip may have the same row (a class prior). From one half on a class is in a `set` and a flag is
    True; `tables/thresholds.py` moves scores so that thresholds lie there.
    """
    check_matrix(probabilities, form.style in SURE, same_rows)
    test_ids, probabilities = pool(form, test_ids, probabilities)
    where = pd.Index(list(test_ids)).get_indexer(pd.Index(form.clips))
    if (where < 0).any():
        raise UserError(f"sample submission: clip '{form.clips[int((where < 0).argmax())]}' is not in the test set")
    spoken = form.spoken(classes)
    rows = probabilities[where][:, _places(form, classes)]
    there = rows >= 0.5
    if form.style in ("scores", "raw"):
        if form.style == "scores":
            rows = np.where(rows == 1, 1 - EDGE, rows)  # at 1, a class without positives costs padded cmAP
        return pd.DataFrame({form.key: list(form.ids)} | dict(zip(spoken, rows.T, strict=True)))[list(form.columns)]
    if form.style in PAIRED:
        values = (rows if form.style == "pairs" else there)[_pairs(form, spoken)]
        cells: Any = values if form.style == "pairs" else np.asarray(FLAGS, dtype=object)[values.astype(int)]
    elif form.style == "probability":
        cells = _positive(form, classes, probabilities[where])
    elif form.style == "label":
        cells = np.asarray(spoken, dtype=object)[rows.argmax(axis=1)]
    else:
        cells = _lists(form, spoken, rows, there)
    return pd.DataFrame({form.key: form.ids, form.rest[0]: cells})[list(form.columns)]


def pool(form: SubmissionFormat, ids: Sequence[str], scores: np.ndarray) -> tuple[Sequence[str], np.ndarray]:
    """What the submission's rows are about, and its scores: the maximum over the clips of each where they are pooled.

    ids: the clips of scores (M, C).
    """
    if not form.pooled:
        return ids, scores
    names = np.array([form.pooled.get(clip, clip) for clip in ids], dtype=object)
    best = pd.DataFrame(scores).groupby(names, sort=False).max()
    return list(best.index), best.to_numpy()


def _places(form: SubmissionFormat, classes: Sequence[str]) -> np.ndarray:
    """Columns of the table of the classes that the file speaks of."""
    spoken = form.spoken(classes)
    place = pd.Index(list(classes)).get_indexer(pd.Index(list(spoken)))
    if (place < 0).any():
        raise UserError(f"sample submission: column '{spoken[int((place < 0).argmax())]}' is none of the classes")
    return np.asarray(place)


def _positive(form: SubmissionFormat, classes: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """The positive class's probability, of two classes its share."""
    shares = rows / rows.sum(axis=1, keepdims=True) if len(classes) == 2 else rows
    return np.asarray(shares[:, list(classes).index(form.positive)])


def _lists(form: SubmissionFormat, spoken: Sequence[str], rows: np.ndarray, there: np.ndarray) -> list[str]:
    """The k best labels of each row, or all that are there, best first."""
    if any(" " in c for c in spoken):
        raise UserError("sample submission: labels are separated by blanks, but a class name holds a blank")
    names = np.asarray(spoken, dtype=object)
    best = np.argsort(-rows, axis=1, kind="stable")
    if form.style == "labels":
        return [" ".join(row) for row in names[best[:, : form.k]]]
    return [" ".join(names[b[t[b]]]) or form.nothing for b, t in zip(best, there, strict=True)]


def _pairs(form: SubmissionFormat, spoken: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Row in `form.clips` and column in `spoken` of every pair."""
    row, column = ({name: number for number, name in enumerate(names)} for names in (form.clips, spoken))
    return np.array([row[clip] for clip, _ in form.pairs]), np.array([column[name] for _, name in form.pairs])


def pair_ids(rule: str, clips: Sequence[str], classes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Clip and class of the row ids of all pairs, clip by clip, by a competition's rule.

    `{clip}` is the clip, `{head}` and `{tail}` what stands before and behind its last `_`, `{class}` the class and
    `{number}` its place from 0. Three whole numbers joined as `a*b+c` are reckoned up: `{clip}*100+{number}`.
    """
    known = ("clip", "head", "tail", "class", "number")
    wrong = [name for name in FIELD.findall(rule) if name not in known]
    if wrong:
        raise UserError(f"submission: rule '{rule}': there is no {{{wrong[0]}}}; there is {', '.join(known)}")
    found: dict[str, tuple[str, str]] = {}
    for clip in clips:
        head, _, tail = clip.rpartition("_")
        for number, name in enumerate(classes):
            values = {"clip": clip, "head": head, "tail": tail, "class": name, "number": str(number)}
            row = FIELD.sub(lambda one, values=values: values[one[1]], rule)  # type: ignore[misc]
            total = SUM.fullmatch(row)
            row = str(int(total[1]) * int(total[2]) + int(total[3])) if total else row
            if row in found:
                raise UserError(f"submission: rule '{rule}' gives two rows the id '{row}'")
            found[row] = (clip, name)
    return found


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
    spoken = form.spoken(classes)
    if list(table.columns) != list(form.columns):
        raise UserError(f"submission: columns {list(table.columns)} instead of {list(form.columns)}")
    if table[form.key].tolist() != list(form.ids):
        raise UserError("submission: rows are missing, doubled or not in the sample's order")
    if form.style in NUMBERS:
        _check_numbers(table, form, same_rows)
        return
    texts = table[form.rest[0]].astype(str)
    for row, text in enumerate(texts):
        fault = _fault(form, spoken, text)
        if fault:
            raise UserError(f"submission: row {row + 2} ('{form.ids[row]}') is {text!r}, not {fault}")


def _check_numbers(table: pd.DataFrame, form: SubmissionFormat, same_rows: bool) -> None:
    values = table[list(form.rest)].to_numpy(dtype=float)
    check_matrix(values, False, same_rows)
    if form.style in ("probability", "pairs") and ((values < 0) | (values > 1)).any():
        raise UserError(f"submission: '{form.rest[0]}' is no probability in every row")


def _fault(form: SubmissionFormat, spoken: Sequence[str], text: str) -> str:
    """What a cell of labels should be and is not; empty where it is right."""
    if form.style == "flags":
        return "" if text in FLAGS else "True or False"
    labels = text.split(" ") if form.style in LISTED else [text]
    if form.style == "set":
        known = text == form.nothing or (len(set(labels)) == len(labels) and set(spoken).issuperset(labels))
        return "" if known else f"different labels or '{form.nothing}'"
    expected = min(form.k, len(spoken)) if form.style == "labels" else 1
    known = len(labels) == len(set(labels)) == expected and set(spoken).issuperset(labels)
    return "" if known else f"{expected} different labels"


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
        if form.style in NUMBERS:
            table = table.astype({column: float for column in form.rest if column in table})
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    try:
        check(table, form, classes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if form.style == "probability":
        share = table[form.rest[0]].to_numpy(dtype=np.float64)[:, None]
        return np.where(np.array(classes) == form.positive, share, 1 - share)
    scores = np.zeros((len(form.clips), len(classes)))
    scores[:, _places(form, classes)] = _values(table, form, form.spoken(classes))
    return scores


def _values(table: pd.DataFrame, form: SubmissionFormat, spoken: Sequence[str]) -> np.ndarray:
    """The values (clips, classes spoken of) of a checked table."""
    if form.style in PAIRED:
        column, values = table[form.rest[0]], np.zeros((len(form.clips), len(spoken)))
        values[_pairs(form, spoken)] = column.astype(float) if form.style == "pairs" else column == FLAGS[1]
        return values
    if form.style in ("scores", "raw"):
        return table[list(spoken)].to_numpy(dtype=np.float64)
    position = {c: i for i, c in enumerate(spoken)}
    scores = np.zeros((len(table), len(spoken)))
    for row, text in enumerate(table[form.rest[0]]):
        if form.style == "set" and text == form.nothing:
            continue
        for rank, label in enumerate(text.split(" ") if form.style in LISTED else [text]):
            scores[row, position[label]] = 1.0 if form.style == "set" else 1.0 / (1 + rank)
    return scores


def log(path: Path, entry: dict[str, Any]) -> None:
    """Add one line to the log of submissions: when, and `entry`; a new key is a new column."""
    now = pd.DataFrame([{"when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **entry}])
    write_csv(path, pd.concat([read_log(path), now]) if path.is_file() else now)


def read_log(path: Path) -> pd.DataFrame:
    """The log as text."""
    return read_csv(path)
