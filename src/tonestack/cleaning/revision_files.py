"""The files of label revisions, written: rows, decisions and receipt; the decisions of the chosen one, published.

The layout is that of `labels.revisions`, which reads them.
"""

from pathlib import Path
from typing import Any

from tonestack.base.files import array_hash, fingerprint, read_csv, read_json, write_csv, write_json, write_parquet
from tonestack.labels.revisions import COLUMNS, SHOWN, check, content, soft_path

import numpy as np
import pandas as pd

LARGE = 5_000_000  # cells of class columns, beyond which they lie in a parquet file


def up_to_date(folder: Path, revision: str, inputs: dict[str, Any]) -> bool:
    """True if the revision was made from exactly these inputs."""
    path = folder / f"{revision}.json"
    if not path.is_file() or not (folder / f"{revision}.csv").is_file():
        return False
    check(folder, revision)
    return read_json(path).get("inputs") == inputs


def write(folder: Path, revision: str, rows: pd.DataFrame, decided: pd.DataFrame, receipt: dict[str, Any]) -> None:
    """Write a revision's three files, the json last."""
    path = folder / f"{revision}.json"
    (folder / f"{revision}.csv").unlink(missing_ok=True)  # first: without a receipt it would pass as the user's own
    path.unlink(missing_ok=True)  # an old receipt must not stand beside new rows
    classes, soft = rows.columns.drop(COLUMNS, errors="ignore"), soft_path(folder, revision)
    soft.unlink(missing_ok=True)
    if len(rows) * len(classes) > LARGE:
        write_parquet(soft, rows[classes].astype(np.float32))
        rows = rows[COLUMNS]
    write_csv(folder / f"{revision}.csv", rows)
    write_csv(folder / f"{revision}.decisions.csv", decided)
    write_json(path, {"revision": revision} | receipt | {"checksum": content(folder, revision)})


def of_rows(rows: pd.DataFrame) -> str:
    """Content hash of a revision's rows in memory."""
    plain = fingerprint(rows[COLUMNS].astype(str).to_numpy().tolist())
    classes = rows.columns.drop(COLUMNS)
    return (
        fingerprint([plain, list(classes), array_hash(rows[classes].to_numpy(np.float32))]) if len(classes) else plain
    )


def read_decisions(folder: Path, revision: str) -> pd.DataFrame | None:
    """A revision's decisions; None for r0 and for revisions made elsewhere."""
    path = folder / f"{revision}.decisions.csv"
    text = ["clip_id", "given_label", "proposed_label", "decision"]
    return read_csv(path, text, text) if path.is_file() else None


def given_decisions(table: pd.DataFrame) -> pd.DataFrame:
    """What decisions start from: `clip_id, given_label, verified, proposed_label` (the given one). table: the folds."""
    decided = table[["clip_id", "label", "verified"]].rename(columns={"label": "given_label"})
    return decided.assign(verified=decided["verified"].astype(int), proposed_label=decided["given_label"])


def publish(folder: Path, revision: str) -> pd.DataFrame | None:
    """Write decisions.csv: the decisions of `revision` and every revision's confidence column; None for r0."""
    chosen = read_decisions(folder, revision)
    if chosen is None:
        return None
    chosen = chosen.assign(revision=revision)
    for path in sorted(folder.glob("*.decisions.csv")):
        other = read_decisions(folder, path.name.removesuffix(".decisions.csv"))
        if other is None or other["given_label"].tolist() != chosen["given_label"].tolist():
            continue  # of an older clip table
        new = [c for c in other.columns if c not in SHOWN and c not in chosen.columns]
        chosen = chosen.assign(**{c: other[c] for c in new})
    confidences = [c for c in chosen.columns if c not in SHOWN]
    chosen = chosen[[*SHOWN, *confidences]]
    write_csv(folder / "decisions.csv", chosen)
    return chosen
