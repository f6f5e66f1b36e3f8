"""What the columns of an unknown csv are: names of clips, labels, groups, folds, flags of verification, times."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from tonestack.base.errors import UserError, nearest

import pandas as pd

LABELS = (
    *("label", "labels", "class", "classes", "category", "target", "primary_label", "species", "tag", "tags"),
    *("ebird_code", "scene_label", "event_label", "sound", "word", "emotion", "genre", "instrument", "y"),
)
GROUPS = (
    *("group", "speaker", "speaker_id", "subject", "patient", "person", "user", "client_id", "author", "recordist"),
    *(
        "uploader",
        "source",
        "src_file",
        "fsid",
        "recording",
        "recording_id",
        "session",
        "site",
        "location",
        "identifier",
    ),
    *("video", "video_id", "device", "date", "day"),
)
FOLDS = ("fold", "folds", "kfold", "cv_fold", "cv")
CHECKED = ("verified", "manually_verified", "curated", "checked")
STARTS, ENDS = ("start", "onset", "t_min", "start_time", "begin"), ("end", "offset", "t_max", "end_time")
SECONDARY = ("secondary_labels", "secondary_label", "secondary", "other_labels", "background")
NOTHING = ("nocall",)  # words that say that nothing is there
MARKS = (",", ";", "|", " ")  # that may stand between labels
LIST = re.compile(r"\[.*\]")
ONE_HOT = 3  # columns of 0 and 1 that make a table of classes


@dataclass(frozen=True)
class Names:
    """How a column names files: `folder`/<cell><suffix> below the root. rows: those whose file is there."""

    column: str
    folder: str
    suffix: str
    rows: int


def named_files(table: pd.DataFrame, paths: set[str], folder: str) -> Names | None:
    """The column whose cells name most of the files `paths` (below the root); None if no cell of any names one.

    folder: where they lie; cells may also be paths from a folder above it, and lack the suffix.
    """
    folders = [folder, *(str(parent) for parent in PurePosixPath(folder).parents)] if folder else [""]
    folders = list(dict.fromkeys("" if name == "." else name for name in folders))
    suffixes = ["", *(suffix for suffix, _ in Counter(PurePosixPath(path).suffix for path in paths).most_common(3))]
    found = [
        Names(column, where, suffix, sum(_join(where, cell, suffix) in paths for cell in table[column]))
        for column in table.columns
        for where in folders
        for suffix in suffixes
    ]
    best = max(found, key=lambda names: names.rows, default=None)  # the first of equals: deepest folder, no suffix
    return best if best is not None and best.rows else None


def _join(folder: str, cell: str, suffix: str) -> str:
    return f"{folder}/{cell}{suffix}" if folder else f"{cell}{suffix}"


def by_name(columns: list[str], wanted: tuple[str, ...]) -> list[str]:
    """The columns that are called like one of `wanted`, in that order; case, `_`, `-` and blanks do not matter."""
    known = {re.sub(r"[\W_]", "", column.casefold()): column for column in reversed(columns)}
    keys = dict.fromkeys(re.sub(r"[\W_]", "", name) for name in wanted)
    return [known[key] for key in keys if key in known]


def one_hot(table: pd.DataFrame, but: set[str]) -> list[str]:
    """The columns of 0 and 1, if there are as many as make a table of classes."""
    but = but | {*by_name(list(table.columns), (*STARTS, *ENDS))}
    bits = {"0", "1", "0.0", "1.0", ""}
    found = [c for c in table.columns if c not in but and set(table[c]) <= bits and any(table[c])]
    return found if len(found) >= ONE_HOT else []


def label_columns(table: pd.DataFrame, but: set[str]) -> list[str]:
    """Columns that may hold the labels, the likeliest first: by name, then by repeating themselves."""
    but = but | {*by_name(list(table.columns), (*STARTS, *ENDS))}
    named = [column for column in by_name(list(table.columns), LABELS) if column not in but]
    most = max(2, len(table) // 2)
    counts = {c: table[c].nunique() for c in table.columns if c not in but and c not in named}
    repeating = sorted((count, c) for c, count in counts.items() if 2 <= count <= most and not _is_quantity(table[c]))
    return named + [column for _, column in repeating]


def _is_quantity(cells: pd.Series) -> bool:
    """True if the cells are numbers with fractions, which are no classes."""
    return any(re.fullmatch(r"-?\d+\.\d*[1-9]\d*", cell) for cell in cells)


def label_mark(cells: pd.Series) -> str:
    """What stands between the labels of a cell: one of `MARKS`, `[]` for Python's lists, '' for one label."""
    filled = cells[cells != ""]
    if len(filled) and filled.map(lambda cell: LIST.fullmatch(cell) is not None).all():
        return "[]"
    for mark in MARKS:
        parts = filled.map(lambda cell, mark=mark: [part.strip() for part in cell.split(mark) if part.strip()])
        several = parts[parts.map(len) > 1]
        single = set(parts[parts.map(len) == 1].map(lambda found: found[0])) if len(several) else set()
        alone = [part in single for row in several for part in row]
        if alone and sum(alone) > len(alone) / 2:  # "dog bark" is one label, unless "dog" and "bark" are labels, too
            return mark
    return ""


def groups(table: pd.DataFrame, but: set[str]) -> list[str]:
    """Columns that may name what clips were cut from: of a telling name, with fewer values than rows, but several."""
    named = [column for column in by_name(list(table.columns), GROUPS) if column not in but]
    return [column for column in named if 2 <= table[column].nunique() <= 0.9 * len(table)]


def beginnings(names: list[str], labels: pd.Series | None = None) -> tuple[str, int] | None:
    """A sign before which clip names begin alike, and the number of beginnings; None if none shows groups.

    labels: of the clips; beginnings that only repeat them are no groups.
    """
    for mark in ("_", "-", "."):
        first = pd.Series([PurePosixPath(name).stem.partition(mark) for name in names])
        start, count = first.map(lambda parts: parts[0]), first.map(lambda parts: parts[0]).nunique()
        if not first.map(lambda parts: parts[1] != "").all() or not 5 <= count <= len(names) / 2:
            continue
        per_start = 2 if labels is None else labels.reset_index(drop=True).groupby(start).nunique().max()
        if per_start > 1 or (labels is not None and count > labels.nunique()):
            return mark, count
    return None


def check(column: str | None, columns: list[str], word: str) -> None:
    """Refuse a column that a word names and the csv lacks."""
    if column and column not in columns:
        raise UserError(f"{word}={column}: the csv has no such column{nearest(column, columns)}")
