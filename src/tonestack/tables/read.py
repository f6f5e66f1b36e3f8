"""Reading of prediction tables: files in, arrays in the competition's order out, each row checked on the way.

Used by `oof.load` alone, for our own tables and for foreign ones. A foreign table is any folder of parquet or csv
files with the columns of ours and no json, or of npy arrays described by a `table.yaml`:

    oof: oof.npy               # (N, C)
    oof_ids: train_ids.txt     # one name per line, or a csv with clip_id, or an npy of text
    test: [f0.npy, f1.npy]     # one file per fold, or one file (M, C) or (K, M, C)
    test_ids: test_ids.txt
    classes: classes.txt       # or a list

Rows are aligned by clip name and columns by class name, never by position. Pickles are never opened.
"""

import re
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import file_hash, inside, load_yaml, read_json, read_text
from tonestack.base.text import first_line
from tonestack.tables import parquet_files
from tonestack.tables.oof import TAUGHT, table_files

import numpy as np
import pandas as pd
import pyarrow as pa

PARTS = {"oof": "oof", "test": "test", TAUGHT: "test"}  # what a file calls its rows, and the part that they belong to
SHARED = ("features", "columns", "options")  # inputs that all folds of a table have alike
PICKLES = {".pt", ".pth", ".npz", ".joblib", ".pkl", ".pickle", ".ckpt"}
LARGEST = 1e30  # of a value: sums over classes and tables stay finite in float32
ROW_NUMBERS = re.compile(r"__index_level_\d+__|Unnamed: \d+")  # pandas' own index, saved along by habit


@dataclass
class PredictionTable:
    """One experiment's table, aligned to the competition.

    kind: `train`, `baseline`, `foreign`, `blend` or `stack`. oof: (N, C) float32 in the folds table's order, NaN rows
    where a row may be missing; None without an OOF part. test: (K, M, C) float32 per fold in the test
    order, or None. fold: (N,) of the folds table. meta: the receipts. notes: messages for the user.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    oof: np.ndarray | None
    test: np.ndarray | None
    fold: np.ndarray
    meta: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class TableReader:
    """Collects the files of one folder into aligned arrays, checking every row on the way."""

    def __init__(
        self,
        folder: Path,
        folds: pd.DataFrame,
        test_ids: list[str],
        classes: tuple[str, ...],
        parts: set[str],
        nonnegative: bool,
        one_label: bool = True,
        taught: bool = True,
    ) -> None:
        self.folder, self.classes, self.parts, self.nonnegative = folder, classes, parts, nonnegative
        self.one_label, self.taught = one_label, taught
        self.index = {"oof": pd.Index(folds["clip_id"].astype(str)), "test": pd.Index(test_ids, dtype=object)}
        self.fold = folds["fold"].to_numpy(dtype=int)
        self.verified = folds["verified"].to_numpy(dtype=bool)
        self.kind = "foreign"
        self.oof: np.ndarray | None = None
        self.test: list[np.ndarray] = []
        self.meta: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def native(self, native: dict[int, Path]) -> None:
        """Read the folds that have a receipt; each must be there, undamaged, with its own clips only."""
        for fold in sorted(set(self.fold[self.fold >= 0]) - set(native)):
            raise UserError(
                f"{self.folder}: fold {fold} is missing (finished: {', '.join(map(str, native))}); "
                f"train fold={fold}, or blend other tables"
            )
        for fold, receipt in native.items():
            meta, path = read_json(receipt), receipt.with_suffix(".parquet")
            if not path.is_file() or file_hash(path) != meta.get("checksums", {}).get(path.name):
                raise UserError(
                    f"{path}: missing or not as its json says (damaged); delete {receipt.name}, train again"
                )
            self.kind = str(meta.get("kind", "train"))
            if self.meta and (why := _unlike(self.meta[0], meta)):
                raise UserError(
                    f"{self.folder}: {receipt.stem} was made with another {why} than fold{self.meta[0].get('fold')}; "
                    "delete the folder and train it again, or give variant=WORD to keep both"
                )
            self.meta.append(meta)
            self._add(_read_table(path, *self._most()), path, fold)

    def foreign(self) -> None:
        """Read every parquet and csv, or the files named by `table.yaml`."""
        files = table_files(self.folder)
        pickles = sorted(f.name for f in self.folder.iterdir() if f.suffix.lower() in PICKLES)
        if pickles:
            self.notes.append(f"{self.folder.name}: {', '.join(pickles)} not opened (a pickle could run code)")
        if not files:
            raise UserError(
                f"{self.folder}: no prediction table here ({', '.join(pickles) or 'no parquet or csv'}); "
                "give parquet or csv with clip_id, part and the class columns, or npy with a table.yaml"
            )
        for path in files:
            tables = _read_yaml(path) if path.suffix == ".yaml" else [_read_table(path, *self._most())]
            for table in tables:
                self._add(table, path, None)

    def _most(self) -> tuple[int, int]:
        """Rows and columns that a file of this table may have; a few too many are named one by one."""
        return max(1000, sum(map(len, self.index.values()))), max(1000, 2 * len(self.classes))

    def finish(self) -> PredictionTable:
        """Check that the OOF part is complete and return everything."""
        if self.oof is not None:
            self._check_complete(self.oof)
        test = np.stack(self.test) if self.test else None
        fold_count = len(set(self.fold[self.fold >= 0]))
        if self.kind != "foreign" and self.test and len(self.test) < fold_count:
            raise UserError(
                f"{self.folder}: only {len(self.test)} of {fold_count} folds hold test rows; train the others again"
            )
        if "oof" in self.parts and self.oof is None:
            self.notes.append(f"{self.folder.name}: no OOF part, so it cannot be scored; only equal weights can use it")
        return PredictionTable(
            self.folder.name, self.kind, self.classes, self.oof, test, self.fold, self.meta, self.notes
        )

    def _add(self, table: pd.DataFrame, path: Path, fold: int | None) -> None:
        table = self._with_part(table, path)
        unknown = [c for c in table.columns if c not in ("clip_id", "part", *self.classes)]
        missing = [c for c in self.classes if c not in table.columns]
        if unknown:
            raise UserError(
                f"{path}: unknown class column '{unknown[0]}'{nearest(unknown[0], missing or self.classes)}"
            )
        if missing:
            raise UserError(f"{path}: no column for class '{missing[0]}'; give one column for each of the classes")
        for part in ("oof", "test"):
            rows = table[table["part"].map(PARTS) == part]
            if len(rows) and part in self.parts:
                where, values = self._aligned(rows, path, part)
                if part == "oof":
                    self._place_oof(where, values, path, fold)
                else:
                    self._place_test(where, values, path, (rows["part"] == TAUGHT).to_numpy())

    def _with_part(self, table: pd.DataFrame, path: Path) -> pd.DataFrame:
        """Check the key columns; a missing column `part` is derived from the clip names."""
        table = table[[c for c in table.columns if not ROW_NUMBERS.fullmatch(str(c))]]
        if "clip_id" not in table.columns and "fname" in table.columns:
            table = table.rename(columns={"fname": "clip_id"})
        if "clip_id" not in table.columns:
            mark = next((mark for mark in ";\t|" if mark in str(table.columns[0])), "")
            fix = f"; its cells are parted by {mark!r}: save it with commas and decimal points" if mark else ""
            raise UserError(f"{path}: no column clip_id (columns: {', '.join(map(str, table.columns[:4]))} ...){fix}")
        table = table.assign(clip_id=table["clip_id"].astype(str))
        if "part" not in table.columns:
            table = table.assign(part=np.where(table["clip_id"].isin(self.index["oof"]), "oof", "test"))
        wrong = table.loc[~table["part"].isin(PARTS), "part"]
        if len(wrong):
            raise UserError(f"{path}: row {wrong.index[0] + 2}: part is {wrong.iloc[0]!r}; write oof or test")
        return table

    def _aligned(self, rows: pd.DataFrame, path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions (R,) in the competition's order and values (R, C); bad rows are named."""
        ids = rows["clip_id"]
        where = self.index[part].get_indexer(pd.Index(ids))
        owner = "the folds table" if part == "oof" else "the competition's test set"
        _refuse(ids, where < 0, f"{path}: clip", f"({part}) is not in {owner}; remove the row")
        _refuse(ids, ids.duplicated().to_numpy(), f"{path}: clip", f"({part}) has two rows; keep one")
        values = _numbers(rows, self.classes, path)
        _refuse(ids, ~np.isfinite(values).all(axis=1), f"{path}: clip", f"({part}) has a NaN or infinite value")
        if self.nonnegative:
            _refuse(
                ids, (values < 0).any(axis=1), f"{path}: clip", f"({part}) has a negative value; give probabilities"
            )
        if self.nonnegative and self.one_label:  # where a clip may have several labels, nothing may be there
            _refuse(ids, ~(values > 0).any(axis=1), f"{path}: clip", f"({part}) is all zeros; give probabilities")
        return where, values

    def _place_oof(self, where: np.ndarray, values: np.ndarray, path: Path, fold: int | None) -> None:
        ids = pd.Series(self.index["oof"][where])
        if fold is not None:
            why = f"is not of fold {fold}; its model has trained on it: the folds were changed since, delete the folder"
            _refuse(ids, self.fold[where] != fold, f"{path}: clip", f"{why} and train again")
        if self.oof is None:
            self.oof = np.full((len(self.fold), len(self.classes)), np.nan, dtype=np.float32)
        taken = np.asarray(~np.isnan(self.oof[where, 0]))
        _refuse(ids, taken, f"{path}: clip", "(oof) was given by another file of this table too; keep one row per clip")
        self.oof[where] = values

    def _place_test(self, where: np.ndarray, values: np.ndarray, path: Path, taught: np.ndarray) -> None:
        """Every test clip has a row; those that the model was trained on become NaN where they are not asked for."""
        ids = pd.Series(self.index["test"])
        absent = ~np.isin(np.arange(len(ids)), where)
        _refuse(ids, absent, f"{path}: clip", "(test) has no row; every test clip needs one in every fold's file")
        table = np.full((len(ids), len(self.classes)), np.nan, dtype=np.float32)
        table[where] = values if self.taught else np.where(taught[:, None], np.nan, values)
        self.test.append(table)

    def _check_complete(self, oof: np.ndarray) -> None:
        """Refuse a table that lacks a clip of a fold; a table not trained here may cover the verified clips alone."""
        absent = np.isnan(oof[:, 0]) & (self.fold >= 0)
        verified_only = self.kind != "train" and np.array_equal(absent, ~self.verified & (self.fold >= 0))
        if not verified_only:
            ids = pd.Series(self.index["oof"])
            _refuse(ids, absent, f"{self.folder}: clip", "(oof) has no row; predict it, or give the test part only")


def _numbers(rows: pd.DataFrame, classes: tuple[str, ...], path: Path) -> np.ndarray:
    """The class columns as float32 (R, C); a cell that is no number, or too large for any sum, is named by its row."""
    try:
        values = rows[list(classes)].to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        for name in classes:
            numbers = pd.to_numeric(rows[name], errors="coerce")
            wrong = (numbers.isna() & rows[name].notna()).to_numpy()
            if wrong.any():
                place = int(wrong.argmax())
                clip, cell = rows["clip_id"].iloc[place], str(rows[name].iloc[place])[:40]
                raise UserError(f"{path}: clip '{clip}': '{name}' is '{cell}', not a number; fix the row") from None
        raise UserError(f"{path}: a class column is not numeric; give numbers") from None
    with np.errstate(invalid="ignore"):
        huge = (np.isfinite(values) & (np.abs(values) > LARGEST)).any(axis=1)
    _refuse(rows["clip_id"], huge, f"{path}: clip", f"has a value beyond {LARGEST:g}; give probabilities or scores")
    return np.asarray(values.astype(np.float32))


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the setting in which the receipts of two folds of one table differ; empty if in none.

    A setting that only one of them has did not exist yet when the other was made.
    """
    kept = ("seed", "config", "search", "tables", "weights", "sources")
    shared = {key: (one[key], other[key]) for key in kept if key in one and key in other}
    inputs = [{k: v for k, v in dict(said.get("inputs", {})).items() if k in SHARED} for said in (one, other)]
    shared["inputs"] = (inputs[0], inputs[1])
    return next(filter(None, (_differs(key, *values) for key, values in shared.items())), "")


def _differs(key: str, one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        below = (_differs(f"{key}.{name}", one[name], other[name]) for name in one.keys() & other.keys())
        return next(filter(None, sorted(below)), "")
    return "" if one == other else f"{key.removeprefix('config.')} ({one} and {other})"


def _refuse(ids: pd.Series, bad: Any, before: str, after: str) -> None:
    """Raise a `UserError` naming the first bad clip and how many there are."""
    count = int(bad.sum())
    if count:
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise UserError(f"{before} '{ids.iloc[int(bad.argmax())]}'{more} {after}")


def _read_table(path: Path, rows: int = 0, columns: int = 0) -> pd.DataFrame:
    """Read a csv, or a parquet file of at most so many rows and columns."""
    table = _parsed(path, rows, columns)
    names = [str(column) for column in table.columns]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: the column '{twice}' is there twice; keep one")
    return table.set_axis(names, axis=1)


def _parsed(path: Path, rows: int, columns: int) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".csv":
            text = {"clip_id": str, "fname": str, "part": str}
            blank = {"keep_default_na": False, "na_values": ["", "nan", "NaN"]}  # a clip may be called "None"
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than the header
                return pd.read_csv(path, dtype=text, encoding="utf-8-sig", index_col=False, compression=None, **blank)  # type: ignore[call-overload]
        return parquet_files.read(path, rows, columns)
    except (ValueError, OSError, pd.errors.ParserWarning, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as a table ({first_line(error)})") from None


def _read_yaml(path: Path) -> list[pd.DataFrame]:
    """The tables that a `table.yaml` describes: one for the OOF part, one per fold for the test part."""
    words = load_yaml(read_text(path), str(path), aliases=False)
    known = ("classes", "oof", "oof_ids", "test", "test_ids")
    if not isinstance(words, dict) or "classes" not in words or not ({"oof", "test"} & set(words)):
        raise UserError(f"{path}: needs the keys classes and oof or test (known: {', '.join(known)})")
    for key in words:
        if key not in known:
            raise UserError(f"{path}: unknown key '{key}'{nearest(str(key), known)}")
    classes = words["classes"] if isinstance(words["classes"], list) else _names(path, words["classes"])
    tables = []
    for part in ("oof", "test"):
        named = words.get(part) or []
        ids = _names(path, words.get(f"{part}_ids")) if named else []
        for name in named if isinstance(named, list) else [named]:
            tables += _array_tables(path, str(name), part, ids, list(map(str, classes)))
    return tables


def _array_tables(yaml_path: Path, name: str, part: str, ids: list[str], classes: list[str]) -> list[pd.DataFrame]:
    array = _array(_beside(yaml_path, name))
    stack = array if array.ndim == 3 else array[None]
    if stack.ndim != 3 or stack.shape[1:] != (len(ids), len(classes)):
        raise UserError(f"{yaml_path}: {name} has shape {array.shape}, expected ({len(ids)}, {len(classes)})")
    tables = [pd.DataFrame(values, columns=classes) for values in stack]
    return [t.assign(clip_id=ids, part=part) for t in tables]


def _names(yaml_path: Path, name: Any) -> list[str]:
    """Read names from txt (one per line), csv (column clip_id or fname, else the first) or npy of text."""
    path = _beside(yaml_path, name)
    if path.suffix == ".npy":
        return [str(n) for n in _array(path)]
    if path.suffix == ".csv":
        table = _read_table(path)
        column = next((c for c in ("clip_id", "fname") if c in table.columns), table.columns[0])
        return table[column].astype(str).tolist()
    return read_text(path).splitlines()


def _beside(yaml_path: Path, name: Any) -> Path:
    path = yaml_path.parent / str(name)
    with suppress(OSError, ValueError):  # a name that no file can have
        if isinstance(name, str) and inside(yaml_path.parent, path) and path.is_file():
            return path
    raise UserError(f"{yaml_path}: {str(name)[:100]!r} is not a file beside it")


def _array(path: Path) -> np.ndarray:
    """Read an npy array; anything else, a pickle above all, is refused."""
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy reads the header as Python source: a damaged one fails in many ways
        raise UserError(f"{path}: not a plain npy array ({str(error)[:100]})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufUS":
        raise UserError(f"{path}: not a plain npy array of numbers or text; save it with np.save")
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # pandas takes this machine's order of bytes alone
