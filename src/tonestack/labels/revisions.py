"""The files of label revisions below folds/<name>/: read, checked, chosen; `cleaning.revision_files` writes them.

folds/<name>/<revision>.csv             clip_id, holdout, label, weight, source (+ class columns)
folds/<name>/<revision>.soft.parquet    the class columns, where a csv of them would be too large: a row per row of it
folds/<name>/<revision>.decisions.csv   one row per clip, the majority over its holdouts
folds/<name>/<revision>.json            parent, method, settings, inputs; written last
folds/<name>/decisions.csv              the decisions of the chosen revision, one confidence column per method
folds/<name>/chosen.json                the revision that `all` trained on last, and that `train` goes on with
"""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, fingerprint, read_json, write_json
from tonestack.base.text import first_line
from tonestack.labels.pool_labels import PoolLabels

import pandas as pd

COLUMNS = ["clip_id", "holdout", "label", "weight", "source"]
CHOSEN = "chosen.json"
SHOWN = ["clip_id", "given_label", "verified", "proposed_label", "decision", "revision"]  # of decisions.csv


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
