"""Reading of competition csv files: as text, tolerant of how people save them, every column checked.

A byte-order mark, CRLF line ends, semicolons or tabs and stray white space are read; anything that cannot be
read safely is a `UserError` of one line: file, row, fault, fix. Rows are numbered as an editor shows them
(the header is row 1), and the tables returned here carry those numbers as their index.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import check_clip_name

import numpy as np
import pandas as pd

DELIMITERS = ",;\t"
MARK = "\ufeff"  # a byte-order mark: it stands within where files were joined
csv.field_size_limit(4 << 20)  # letters: a header of thousands of columns is one cell to the wrong separator
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


def read_table(path: Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read a csv as text, cells stripped, indexed by row number.

    Only `columns` and the existing ones of `optional` are kept (None: all columns), so that no caller
    holds a column that it did not ask for. Raises `UserError` for a file that is absent, empty, not
    UTF-8 or ragged, and for a missing or repeated column.
    """
    numbers, rows = _rows(path)
    header = rows[0]
    _check_header(path, header, columns or ())
    if len(rows) == 1:
        raise UserError(f"{path}: has a header but no rows; restore the file")
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != len(header):
            raise UserError(f"{path}: row {number}: {len(row)} cells where the header has {len(header)}; fix the row")
        if number != numbers[0] and [cell.removeprefix(MARK) for cell in row] == header:
            raise UserError(f"{path}: row {number} is the header once more, of a second file perhaps; remove that row")
    table = pd.DataFrame(rows[1:], columns=pd.Index(header), index=pd.Index(numbers[1:]), dtype=object)
    return table if columns is None else table[[*columns, *(c for c in optional if c in header)]]


def read_rows(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a csv without a header as text, cells stripped, indexed by row number; `columns` are its columns' names."""
    numbers, rows = _rows(path)
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != len(columns):
            raise UserError(f"{path}: row {number}: {len(row)} cells, not {len(columns)}; fix the row")
    return pd.DataFrame(rows, columns=pd.Index(columns), index=pd.Index(numbers), dtype=object)


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Row numbers and stripped cells of a csv whose rows differ in length, header included, blank lines left out."""
    return list(zip(*_rows(path), strict=True))


def read_header(path: Path) -> list[str]:
    """Column names of a csv, stripped."""
    return _rows(path, limit=1)[1][0]


def first_file(root: Path, names: Iterable[str]) -> Path | None:
    """Return the first of `names` that is a file below `root`, None if none is."""
    return next((root / name for name in names if (root / name).is_file()), None)


def _rows(path: Path, limit: int | None = None) -> tuple[list[int], list[list[str]]]:
    """Row numbers and stripped cells of a csv, header included, blank lines left out."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; check root= and the file's name")
    numbers: list[int] = []
    rows: list[list[str]] = []
    reader = None
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter=_delimiter(handle.readline()))
            handle.seek(0)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any("\n" in cell or "\r" in cell for cell in cells):
                    _refuse_swallowed(path, reader.line_num, row, len(rows[0]) if rows else 0, reader.dialect.delimiter)
                if any(cells):
                    numbers.append(reader.line_num)
                    rows.append(cells)
                if len(rows) == limit:
                    break
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as a UTF-8 csv") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from None
    except csv.Error as error:
        raise UserError(f"{path}: row {reader.line_num if reader else 1}: {error}; save it as a plain csv") from None
    if not rows:
        raise UserError(f"{path}: is empty; restore the file")
    return numbers, rows


def _refuse_swallowed(path: Path, last: int, row: list[str], width: int, delimiter: str) -> None:
    """Refuse a cell that a lone quote has opened: it runs on over rows of their own, up to the next quote or the end.

    Text with line breaks inside is no fault, unless its lines look like rows: as many cells, the first without a blank.
    """
    for place, cell in enumerate(row):
        lines = [line for line in cell.splitlines()[1:] if line.strip()]
        cells = [line.split(delimiter) for line in lines]
        whole = cells[:-1] if cells and len(cells[-1]) == place + 1 else cells  # the last one goes on behind the cell
        alike = all(len(one) == width for one in whole) and not any(" " in one[0].strip() for one in cells)
        if (cells and width == 0) or (width > 1 and cells and alike and (place > 0 or whole)):
            first = max(1, last - len(cell.splitlines()) + 1)
            raise UserError(
                f'{path}: row {first}: a quote (") opens a cell that runs on to row {last}, over rows of their own; '
                "remove it, or write it twice inside a quoted cell"
            )


def _delimiter(header: str) -> str:
    """The separator that cuts the header into most cells; a comma where none does."""
    return max(DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _check_header(path: Path, header: list[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in header:
            raise UserError(f"{path}: there is no column '{column}'{nearest(column, header)}")
    repeated = next((column for column, count in Counter(header).items() if count > 1), None)
    if repeated is not None:
        raise UserError(f"{path}: the column '{repeated}' is there twice; rename one")


def clip_ids(table: pd.DataFrame, column: str, path: Path) -> list[str]:
    """Return the clip names of `table`: none blank, none twice, none that leaves its folder."""
    seen: dict[str, int] = {}
    for row, name in zip(table.index, table[column], strict=True):
        if not name:
            raise UserError(f"{path}: row {row}: '{column}' is blank; name the clip or remove the row")
        check_clip_name(name, f"{path}: row {row}")
        file = _file_of(name)
        if file in seen:
            raise UserError(f"{path}: rows {seen[file]} and {row}: '{name}' is there twice; keep the right row")
        seen[file] = row
    return list(table[column])


def _file_of(name: str) -> str:
    """The name by which `./a.wav` and `a.wav` are one file."""
    return PurePosixPath(name).as_posix()


def labels(
    table: pd.DataFrame, column: str, path: Path, classes: Iterable[str] | None = None, one_word: bool = False
) -> list[str]:
    """Return the labels of `table`: none blank, all among `classes` (if given), without blanks inside if `one_word`."""
    known = None if classes is None else set(classes)
    for row, label in zip(table.index, table[column], strict=True):
        if not label:
            raise UserError(f"{path}: row {row}: '{column}' is blank; give its label or remove the row")
        if known is not None and label not in known:
            raise UserError(f"{path}: row {row}: unknown label '{label}'{nearest(label, known)}")
        if one_word and len(label.split()) > 1:
            raise UserError(f"{path}: row {row}: label '{label}' has a blank inside, which parts labels; use '_'")
    return list(table[column])


def label_lists(
    table: pd.DataFrame, column: str, path: Path, classes: Iterable[str] | None = None
) -> tuple[list[str], list[str]]:
    """Return each row's comma-separated labels, stripped, none twice, and every single one, checked as by `labels`."""
    labels(table, column, path)
    cells = table[column].str.split(",").map(lambda names: list(dict.fromkeys(name.strip() for name in names)))
    single = labels(cells.explode().to_frame(), column, path, classes)
    return [",".join(names) for names in cells], single


def flags(table: pd.DataFrame, column: str, path: Path) -> list[bool]:
    """Return a column of 0/1 (or true/false, yes/no) as booleans."""
    for row, cell in zip(table.index, table[column], strict=True):
        if cell.lower() not in TRUE + FALSE:
            raise UserError(f"{path}: row {row}: '{column}' is '{cell}', not 0 or 1; fix the row")
    return [cell.lower() in TRUE for cell in table[column]]


def integers(table: pd.DataFrame, column: str, path: Path) -> list[int]:
    """Return a column of whole numbers of up to nine digits, none below 0."""
    for row, cell in zip(table.index, table[column], strict=True):
        if not (cell.isascii() and cell.isdigit() and len(cell) <= 9):
            raise UserError(f"{path}: row {row}: '{column}' is '{cell[:40]}', not a whole number; fix the row")
    return [int(cell) for cell in table[column]]


def clip_path(folder: str, clip_id: str, suffix: str = "") -> str:
    """Path of a clip relative to the competition's root; `folder` may be empty."""
    return f"{folder}/{clip_id}{suffix}" if folder else f"{clip_id}{suffix}"


def train_frame(
    clip_ids: Sequence[str],
    paths: Sequence[str],
    labels: Sequence[str],
    verified: Sequence[bool] | bool = True,
    group: Sequence[str] | str = "",
    fold: Sequence[int] | int = -1,
) -> pd.DataFrame:
    """Assemble `Competition.train`: `clip_id, path, label` (text), `verified` (bool), `group` (text), `fold` (int)."""
    count = len(clip_ids)
    return pd.DataFrame(
        {
            "clip_id": np.array(clip_ids, dtype=object),
            "path": np.array(paths, dtype=object),
            "label": np.array(labels, dtype=object),
            "verified": np.broadcast_to(np.asarray(verified, dtype=bool), count),
            "group": np.broadcast_to(np.asarray(group, dtype=object), count),
            "fold": np.broadcast_to(np.asarray(fold, dtype=np.int64), count),
        }
    )


def test_frame(clip_ids: Sequence[str], paths: Sequence[str], group: Sequence[str] | str = "") -> pd.DataFrame:
    """Assemble `Competition.test`: `clip_id, path, group`, all text; may have no rows."""
    return pd.DataFrame(
        {
            "clip_id": np.array(clip_ids, dtype=object),
            "path": np.array(paths, dtype=object),
            "group": np.broadcast_to(np.asarray(group, dtype=object), len(clip_ids)),
        }
    )


def check_apart(train_ids: Iterable[str], test_ids: Iterable[str], path: Path) -> None:
    """Refuse a clip that is in train and in test: its label would leak, and tables are aligned by clip name."""
    both = set(map(_file_of, train_ids)) & set(map(_file_of, test_ids))
    if both:
        raise UserError(f"{path}: '{min(both)}' is a train clip too ({len(both)} in both); rename or remove it")
