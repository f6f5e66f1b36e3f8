"""The files of label revisions below folds/<name>/: written, read, chosen, published.

folds/<name>/<revision>.csv             clip_id, holdout, label, weight, source (+ class columns)
folds/<name>/<revision>.soft.parquet    the class columns, where a csv of them would be too large: a row per row of it
folds/<name>/<revision>.decisions.csv   one row per clip, the majority over its holdouts
folds/<name>/<revision>.json            parent, method, settings, inputs; written last
folds/<name>/decisions.csv              the decisions of the chosen revision, one confidence column per method
folds/<name>/chosen.json                the revision that `all` trained on last, and that `train` goes on with
"""

from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import (
    array_hash,
    file_hash,
    fingerprint,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_parquet,
)
from tonestack.base.text import first_line
from tonestack.labels.pool_labels import PoolLabels

import numpy as np
import pandas as pd

LARGE = 5_000_000  # cells of class columns, beyond which they lie in a parquet file
COLUMNS = ["clip_id", "holdout", "label", "weight", "source"]
CHOSEN = "chosen.json"
SHOWN = ["clip_id", "given_label", "verified", "proposed_label", "decision", "revision"]


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
    path.unlink(missing_ok=True)  # an old receipt must not stand beside new rows
    classes, soft = rows.columns.drop(COLUMNS, errors="ignore"), soft_path(folder, revision)
    soft.unlink(missing_ok=True)
    if len(rows) * len(classes) > LARGE:
        write_parquet(soft, rows[classes].astype(np.float32))
        rows = rows[COLUMNS]
    write_csv(folder / f"{revision}.csv", rows)
    write_csv(folder / f"{revision}.decisions.csv", decided)
    write_json(path, {"revision": revision} | receipt | {"checksum": content(folder, revision)})


def check(folder: Path, revision: str) -> None:
    """Refuse a revision whose rows were changed since its json was written."""
    path = folder / f"{revision}.json"
    whole = path.is_file() and (folder / f"{revision}.csv").is_file()
    known = read_json(path).get("checksum") if whole else None
    if known not in (None, content(folder, revision)):
        raise UserError(
            f"{path.with_suffix('.csv')}: was changed by hand since it was made; give it another name to keep it as "
            f"a revision of your own, or delete it to have it made again"
        )


def choose(folder: Path, revision: str) -> None:
    """Store the revision that `train` uses by default."""
    write_json(folder / CHOSEN, {"revision": revision})


def chosen(folder: Path) -> str:
    """The revision that the pipeline chose last; r0 where it has not, or where its file is gone."""
    path = folder / CHOSEN
    name = str(read_json(path).get("revision", "r0")) if path.is_file() else "r0"
    return name if (folder / f"{name}.csv").is_file() else "r0"


def cross_fitted(folder: Path, revision: str) -> bool:
    """True if the revision's test clips may be predicted only by models that were not trained on them."""
    path = folder / f"{revision}.json"
    return path.is_file() and bool(read_json(path).get("settings", {}).get("cross_fit", False))


def pool_labels(folder: Path, oof: Path, revision: str, holdout: int, model: str) -> PoolLabels | None:
    """The pool that a revision's students of one holdout learn from; None if it has none.

    folder: folds/<name>/. oof: the folder of the experiments that its receipt names as teachers.
    """
    path = folder / f"{revision}.json"
    said = read_json(path).get("pool") if path.is_file() else None
    if not said:
        return None
    teachers = dict(said["teachers"])  # experiment: its model
    others = [name for name, own in teachers.items() if own != model]
    chosen = others if said["settings"]["teachers"] == "others" and others else list(teachers)
    return PoolLabels.of([oof / name / f"pool{holdout}.parquet" for name in chosen], said["settings"])


def content(folder: Path, revision: str) -> str:
    """Content hash of a revision's rows."""
    plain, soft = file_hash(folder / f"{revision}.csv"), soft_path(folder, revision)
    return fingerprint([plain, file_hash(soft)]) if soft.is_file() else plain


def soft_path(folder: Path, revision: str) -> Path:
    """The file of a revision's class columns, where they are too large for its csv."""
    return folder / f"{revision}.soft.parquet"


def with_soft(folder: Path, revision: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a revision's csv with the class columns that lie beside it, if any."""
    path = soft_path(folder, revision)
    if not path.is_file():
        return rows
    try:
        soft = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({first_line(error)}); delete the revision to have it made again"
        ) from None
    if len(soft) != len(rows):
        raise UserError(f"{path}: has {len(soft)} rows, the csv {len(rows)}; delete the revision to have it made again")
    return pd.concat([rows, soft], axis=1)


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
