"""OOF tables: the predictions that each model leaves, and all that blends, stackers and scores read.

One fold of an experiment is `oof/<name>/<experiment>/fold<k>.parquet` with the columns `clip_id`, `part` (`oof` or
`test`) and one column per class, and a receipt `fold<k>.json`, which is written last. This module knows that layout,
writes it and loads it. A table without receipts was made elsewhere: `tables/read.py` says which files it may have.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, read_json, write_json, write_parquet

import numpy as np
import pandas as pd
from scipy.special import expit

FLOOR = 1e-15  # a probability of 0 counts as this much where a logarithm is taken
EDGE = np.float32(2**-24)  # a probability of 1 counts as this much less where log odds are taken
TAUGHT = "taught"  # the part of a test clip whose pseudo-label the fold's model has learnt
OWN = ".own"  # says that a table is ours: as long as it has no json it is unfinished, and not somebody else's
MADE = ("blend", "stack")  # made of other tables
APART = (*MADE, "baseline")  # kinds that are no inputs of blend and stack unless asked for
LEVEL_LEAST = 60  # rows on which the level of a fold's model can be measured
LEVEL_MOST = 10_000  # rows that are enough for it
RECEIPT = re.compile(r"fold(\d+)\.json")


def write_fold(
    folder: Path,
    fold: int,
    clip_ids: Sequence[str],
    part: Sequence[str],
    probabilities: np.ndarray,
    classes: Sequence[str],
    receipt: dict[str, Any],
) -> None:
    """Write one fold's table and, last, its receipt with the table's checksum; both whole or absent.

    clip_ids, part: R rows (`oof`, `test`, or `taught`: a test clip whose pseudo-label the model has learnt);
    probabilities (R, C). Non-finite values are a `ValueError`.
    """
    values = np.asarray(probabilities, dtype=np.float32)
    if values.shape != (len(clip_ids), len(classes)) or len(part) != len(clip_ids):
        raise ValueError(f"{folder}: {values.shape} probabilities for {len(clip_ids)} clips, {len(classes)} classes")
    if not np.isfinite(values).all():
        raise ValueError(f"{folder}: fold {fold} has a non-finite probability")
    own_folder(folder)
    table = pd.DataFrame(values, columns=list(classes))
    table.insert(0, "clip_id", list(clip_ids))
    table.insert(1, "part", list(part))
    path = folder / f"fold{fold}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWN).touch()
    path.with_suffix(".json").unlink(missing_ok=True)  # an old receipt must not stand beside a new table
    write_parquet(path, table)
    checksums = {**receipt.get("checksums", {}), path.name: file_hash(path)}
    write_json(
        path.with_suffix(".json"),
        {"kind": "train", **receipt, "fold": fold, "classes": list(classes), "checksums": checksums},
    )


def own_folder(folder: Path) -> Path:
    """Return the folder of a table of ours; one that holds somebody else's is refused: that table would be lost."""
    if not (folder / OWN).exists() and not receipts(folder) and folder.is_dir() and table_files(folder):
        raise UserError(f"{folder}: holds a table made elsewhere, and its name is one of ours; rename that folder")
    return folder


def unread(oof_dir: Path) -> list[str]:
    """A note for every folder of `oof_dir` that holds files, but no prediction table that is read."""
    found = []
    for folder in sorted(f for f in oof_dir.glob("[!.]*") if f.is_dir()) if oof_dir.is_dir() else ():
        files = sorted(f.name for f in folder.glob("[!.]*"))
        if files and not (folder / OWN).exists() and not receipts(folder) and not table_files(folder):
            found.append(f"{folder}: no prediction table is read here ({', '.join(files[:3])}); give parquet or csv")
    return found


def experiments(oof_dir: Path, made: bool = False) -> list[str]:
    """Names of the folders of `oof_dir` that hold a prediction table; with `made`, blends, stacks and baselines too."""
    folders = sorted(f for f in oof_dir.glob("[!.]*") if f.is_dir()) if oof_dir.is_dir() else []
    kinds = {f.name: kind_of(f) for f in folders if receipts(f) or (table_files(f) and not (f / OWN).exists())}
    return [name for name, kind in kinds.items() if made or kind not in APART]


def remove(folder: Path) -> None:
    """Remove a table: hidden first, so that a killed process leaves no half of it."""
    hidden = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden)


def kind_of(folder: Path) -> str:
    """`train`, `blend` or `stack` from the receipts; `foreign` where there is none."""
    for path in receipts(folder).values():
        return str(read_json(path).get("kind", "train"))
    return "foreign"


def receipts(folder: Path) -> dict[int, Path]:
    """The finished folds of a native table: fold number -> its json."""
    found = {int(m[1]): f for f in folder.glob("fold*.json") if (m := RECEIPT.fullmatch(f.name))}
    return dict(sorted(found.items()))


def to_logs(p: np.ndarray, one_label: bool = True) -> np.ndarray:
    """Return what a geometric mean is taken of: log probabilities; with several labels per clip, log odds.

    A class of its own has two outcomes. The mean of log p alone forgets one of them: it is nearer to 0 than to 1.
    """
    if one_label:
        return np.asarray(np.log(np.maximum(p, FLOOR)))
    p = np.clip(p, FLOOR, 1 - EDGE)
    return np.asarray(np.log(p) - np.log1p(-p))


def from_logs(logs: np.ndarray, one_label: bool = True) -> np.ndarray:
    """Invert `to_logs`; rows are not normalised."""
    return np.asarray(np.exp(logs) if one_label else expit(logs))


def level(p: np.ndarray, one_label: bool = True) -> np.ndarray:
    """Level (C,) of a model on some rows (M, C): the mean of each class's log odds, or log probabilities.

    Of very many rows some count, evenly spaced.
    """
    some = p[:: max(1, len(p) // LEVEL_MOST)]
    return np.asarray(to_logs(some, one_label).mean(axis=0, dtype=np.float64))


def combine_folds(test: np.ndarray, how: str, normalise: bool = True) -> np.ndarray:
    """Mean over folds (K, M, C) -> (M, C), `geometric` or `arithmetic`; rows sum to 1 if `normalise`.

    Without `normalise` a clip may have several labels; the geometric mean is then one of log odds.
    """
    if how == "arithmetic":
        mean = test.mean(axis=0)
    else:
        mean = np.zeros(test.shape[1:], dtype=np.float32)
        for table in test:  # one fold at a time: no second copy of all folds
            mean += to_logs(table, normalise)
        mean = from_logs(mean / len(test), normalise)
    return mean / mean.sum(axis=1, keepdims=True) if normalise else mean


def table_files(folder: Path) -> list[Path]:
    """The tables of a foreign folder in order of name: `table.yaml` alone if there is one."""
    described = folder / "table.yaml"
    if described.is_file():
        return [described]
    return sorted(f for f in folder.glob("[!.]*") if f.suffix.lower() in (".parquet", ".csv") and f.is_file())
