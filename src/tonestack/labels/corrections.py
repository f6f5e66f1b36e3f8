"""Labels corrected by a person: a source of labels that overrides every automatic one.

folds/<name>/corrections.csv: `clip_id, decision, label, by, when`; the audit page makes it, `corrections merge=` joins
two people's. A decision is `keep` (the given label is right), `relabel` (`label` is right) or `drop` (no training
on it). Kept and relabelled clips count as verified. Scores stay on the labels of r0, so that they can be compared.
"""

import warnings
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import refuse_line_breaks, write_csv
from tonestack.base.text import first_line, uninert
from tonestack.tables import label_grammar
from tonestack.tables.decisions import DROP, KEEP, RELABEL, Source

import numpy as np
import pandas as pd

FILE = "corrections.csv"
COLUMNS = ["clip_id", "decision", "label", "by", "when"]
NEEDED = COLUMNS[:3]
DECISIONS = (KEEP, RELABEL, DROP)


def read(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The corrections of `folds/<name>/`, checked against its folds table."""
    return read_file(folder / FILE, table)


def read_file(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Read and check one file of corrections. table: the folds table. Faults are `UserError` naming the row."""
    found = _rows(path)
    missing = [column for column in NEEDED if column not in found.columns]
    if missing:
        raise UserError(f"{path}: column '{missing[0]}' is missing; it needs {', '.join(NEEDED)}")
    found = found.reindex(columns=COLUMNS, fill_value="").map(uninert)
    given = dict(zip(table["clip_id"], table["label"], strict=True))
    known = {name for label in given.values() for name in (label, *_names(label))}
    for number, row in enumerate(found.itertuples(index=False), start=2):
        _check(row, given, known, f"{path}: row {number}")
    twice = found["clip_id"].duplicated()
    if twice.any():
        raise UserError(f"{path}: clip '{found['clip_id'][twice].iloc[0]}' has two rows; keep one")
    right = np.where(found["decision"] == "keep", found["clip_id"].map(given), found["label"])
    return found.assign(label=np.where(found["decision"] == "drop", "", right))


def _rows(path: Path) -> pd.DataFrame:
    """The cells of a file of corrections as text; rows that are not whole are refused."""
    rest: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig", "compression": None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than the header
            cells = pd.read_csv(path, header=None, index_col=False, skip_blank_lines=True, **rest)
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise UserError(
            f"{path}: cannot be read as csv ({first_line(error)}); fix the row, or download it anew"
        ) from None
    header = cells.iloc[0].tolist()
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: the column '{twice}' is there twice; keep one")
    found = cells.iloc[1:].set_axis(header, axis=1).reset_index(drop=True)
    refuse_line_breaks(path, found)
    return found


def _check(row: Any, given: dict[str, str], known: set[str], origin: str) -> None:
    clip, decision, label = row.clip_id, row.decision, row.label
    if clip not in given:
        raise UserError(f"{origin}: '{clip}' is no training clip of this competition; is the file of another one?")
    if decision not in DECISIONS:
        raise UserError(f"{origin} ('{clip}'): decision '{decision}'{nearest(decision, DECISIONS)}")
    if decision == "keep" and label not in ("", given[clip]):
        raise UserError(
            f"{origin} ('{clip}'): keeps '{label}', but the given label is '{given[clip]}'; write keep or relabel anew"
        )
    asked = _names(label) or [label] if decision == "relabel" and label not in known else []
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise UserError(f"{origin} ('{clip}'): unknown label '{unknown[0]}'{nearest(unknown[0], known)}")


def _names(label: str) -> list[str]:
    """The classes that a cell names; where a clip has one label, that may be any text, and is one name."""
    try:
        return [name for name in label_grammar.parse(label) if name != "*"]
    except UserError:
        return [label]


def write(folder: Path, corrected: pd.DataFrame) -> Path:
    """Write corrections.csv, in the order of clip names; no cell of it runs in a spreadsheet."""
    path = folder / FILE
    write_csv(path, corrected[COLUMNS].sort_values("clip_id"))
    return path


def on_table(table: pd.DataFrame, corrected: pd.DataFrame) -> pd.DataFrame:
    """The folds table for cleaning: corrected labels are verified, dropped clips are not."""
    if corrected.empty:
        return table
    decision = table["clip_id"].map(corrected.set_index("clip_id")["decision"])
    label = table["clip_id"].map(corrected.set_index("clip_id")["label"])
    right = decision.isin(["keep", "relabel"])
    return table.assign(
        label=table["label"].mask(right, label), verified=(table["verified"] | right) & (decision != "drop")
    )


def on_rows(rows: pd.DataFrame, table: pd.DataFrame, corrected: pd.DataFrame) -> pd.DataFrame:
    """A revision's rows with all corrections applied, for all holdouts but the clip's own fold.

    Dropped clips lose their rows. Corrected ones have weight 1 and source `corrected`; where the revision has class
    columns theirs are what the label says: 0 and 1, NaN where unknown. Rows that a revision lacks are added at its end.
    """
    kept = corrected[corrected["decision"] != "drop"]
    rest = rows[~rows["clip_id"].isin(corrected["clip_id"])]
    clips = table[["clip_id", "fold"]].merge(kept[["clip_id", "label"]], on="clip_id")
    holdouts = sorted(int(k) for k in table["fold"].unique() if k >= 0)
    pieces = [clips[clips["fold"] != k].assign(holdout=k) for k in holdouts]
    added = pd.concat(pieces).drop(columns="fold").assign(weight=1.0, source=Source.CORRECTED)
    columns = [c for c in rows.columns if c not in (*NEEDED, "holdout", "weight", "source")]
    shares = pd.DataFrame(_shares(added["label"].tolist(), columns), index=added.index, columns=columns)
    return pd.concat([rest, pd.concat([added, shares], axis=1)], ignore_index=True)


def _shares(labels: list[str], classes: list[str]) -> np.ndarray:
    """Class columns (n, C) of labels; a label that is a class is that class, whatever its signs mean in a list."""
    rows = np.zeros((len(labels), len(classes)))
    if not classes:
        return rows
    for row, label in zip(rows, labels, strict=True):
        row[:] = [name == label for name in classes] if label in classes else label_grammar.encode([label], classes)[0]
    return rows


def merge(mine: pd.DataFrame, theirs: pd.DataFrame, prefer: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Merge two people's corrections; return the table and the clips on which they differ.

    prefer: whose row is taken for those, `mine` or `theirs`; None leaves `mine`. The second table has one row per
    conflict: clip_id, then each person's decision, name and date.
    """
    both = mine.merge(theirs, on="clip_id", suffixes=(" mine", " theirs"))
    differ = (both["decision mine"] != both["decision theirs"]) | (both["label mine"] != both["label theirs"])
    conflicts = both[differ]
    first = mine[~mine["clip_id"].isin(conflicts["clip_id"])] if prefer == "theirs" else mine
    joined = pd.concat([first, theirs[~theirs["clip_id"].isin(first["clip_id"])]], ignore_index=True)
    return joined, conflicts
