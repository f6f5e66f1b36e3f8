"""Training labels of one holdout: a revision's rows, weighted by source and encoded as class probabilities."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import read_csv, refuse_line_breaks
from tonestack.labels import revisions
from tonestack.settings.model_config import TrainingParams
from tonestack.tables.decisions import Source

import numpy as np
import pandas as pd

BLOCK = 1 << 14  # rows hashed at once
TargetsOf = Callable[[pd.Series, tuple[str, ...]], np.ndarray]


@dataclass(frozen=True)
class Labels:
    """Training labels of one holdout: clip ids (n,), class probabilities (n, C), NaN unknown, loss weights (n,)."""

    clip_ids: list[str]
    targets: np.ndarray
    weights: np.ndarray

    @property
    def prior(self) -> np.ndarray:
        """Weighted mean (C,) of each class's known targets; 0 where none is known."""
        known = ~np.isnan(self.targets) * self.weights[:, None]
        total = known.sum(axis=0)
        return np.asarray((np.nan_to_num(self.targets) * known).sum(axis=0) / np.where(total > 0, total, 1))

    @property
    def filled(self) -> np.ndarray:
        """Targets (n, C) with each class's prior in its unknown cells."""
        return np.where(np.isnan(self.targets), self.prior, self.targets)

    def take(self, rows: np.ndarray) -> "Labels":
        """The labels of these rows: places (m,) or a mask (n,)."""
        places = np.arange(len(self.clip_ids))[rows]
        return Labels([self.clip_ids[at] for at in places], self.targets[places], self.weights[places])

    @property
    def fingerprint(self) -> str:
        """Content hash of all three; targets can be large, so that their hex digits are made block by block."""
        said = hashlib.blake2b(json.dumps([self.clip_ids], ensure_ascii=False)[:-1].encode(), digest_size=8)
        for array in (self.targets, self.weights):
            said.update(b', "')
            for start in range(0, len(array), BLOCK):
                said.update(array[start : start + BLOCK].round(6).tobytes().hex().encode())
            said.update(b'"')
        said.update(b"]")  # as `files.fingerprint` would hash the three in one piece
        return said.hexdigest()


def read_revision(folder: Path, revision: str) -> pd.DataFrame:
    """Read the rows of a revision, corrections not applied: `clip_id, holdout, label, weight, source` (+ classes)."""
    path = folder / f"{revision}.csv"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.csv") if p.with_suffix(".json").is_file())
        raise UserError(f"no label revision '{revision}' in {folder}; there is: {', '.join(known)}")
    revisions.check(folder, revision)
    rows = revisions.with_soft(folder, revision, read_csv(path, ["clip_id", "label", "source"], revisions.COLUMNS))
    twice = np.flatnonzero(rows.duplicated(["clip_id", "holdout"]))
    if len(twice):
        clip = rows["clip_id"].iloc[twice[0]]
        raise UserError(f"{path}: row {twice[0] + 2}: clip '{clip}' is there twice for its holdout; keep one row")
    refuse_line_breaks(path, rows)
    classes = rows.columns.drop(revisions.COLUMNS)
    rows = rows.assign(**{name: _soft(rows[name], path).astype(np.float32) for name in classes})
    _check_numbers(rows, path)
    return rows


def _check_numbers(rows: pd.DataFrame, path: Path) -> None:
    """Refuse a holdout, weight or share that is none, by its row."""
    holdout, weight = (pd.to_numeric(rows[name], errors="coerce") for name in ("holdout", "weight"))
    shares = ((name, (rows[name] < 0) | (rows[name] > 1 + 1e-6)) for name in rows.columns.drop(revisions.COLUMNS))
    wrong = (
        ("holdout", ~(holdout.mod(1) == 0)),
        ("weight", ~((weight >= 0) & np.isfinite(weight))),
        *shares,
    )
    wanted = {"holdout": "the number of a fold", "weight": "a number from 0 on"}
    for name, found in wrong:
        if found.any():
            place = int(found.to_numpy().argmax())
            what = wanted.get(str(name), "a share from 0 to 1")
            raise UserError(f"{path}: row {place + 2}: '{name}' is '{rows[name].iloc[place]}', not {what}; fix the row")


def _soft(column: pd.Series, path: Path) -> pd.Series:
    """A class column; where cells are blank, NaN: the class is unknown."""
    if column.dtype.kind == "f":
        return column
    values = pd.to_numeric(column.replace("", np.nan), errors="coerce")
    wrong = np.flatnonzero(values.isna() & (column != ""))
    if len(wrong):
        row, cell = wrong[0] + 2, column.iloc[wrong[0]]
        raise UserError(f"{path}: row {row}: '{column.name}' is '{cell}', not a number; fix the row")
    return values


def given(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `r0`, the given labels: each holdout trains on all other folds. table: the folds table."""
    source = np.where(table["verified"], Source.VERIFIED, Source.GIVEN)
    all_rows = table[["clip_id", "label"]].assign(weight=1.0, source=source)
    rows = [all_rows[table["fold"] != k].assign(holdout=k) for k in sorted(table["fold"].unique()) if k >= 0]
    return pd.concat(rows, ignore_index=True)


def for_holdout(
    revision: pd.DataFrame, holdout: int, classes: tuple[str, ...], targets_of: TargetsOf, params: TrainingParams
) -> Labels:
    """Select one holdout's rows, apply the config's weights by source, and encode the labels.

    A source that `source_weights` does not name keeps its row's own weight; weight 0 leaves the clip out.
    """
    rows = revision[revision["holdout"] == holdout]
    factor = rows["source"].map(lambda source: params.source_weights.get(source, 1.0)).astype(float)
    if params.verified_only:
        factor = factor.where(rows["source"].isin([Source.VERIFIED, Source.CORRECTED]), 0.0)
    weights = rows["weight"].astype(float) * factor
    rows, weights = rows[weights > 0], weights[weights > 0]
    if rows.empty:
        there = ", ".join(str(k) for k in sorted(revision["holdout"].unique())) or "none"
        raise UserError(
            f"holdout {holdout}: no clip is left to train on (the labels have rows of the holdouts {there}); check the "
            "folds, corrections.csv and training.source_weights"
        )
    shares = set(rows.columns.drop(revisions.COLUMNS))
    soft = set(classes) <= shares
    if shares and not soft:
        raise UserError(f"a label revision has class columns, but none of class '{min(set(classes) - shares)}'; add it")
    targets = rows[list(classes)].to_numpy(np.float32) if soft else targets_of(rows["label"], classes)
    return Labels(rows["clip_id"].tolist(), targets, weights.to_numpy(np.float32))


def group_numbers(clip_ids: list[str], groups: dict[str, str]) -> np.ndarray:
    """The number (n,) of each clip's group; a clip without one is a group of its own."""
    return np.unique([groups.get(name) or name for name in clip_ids], return_inverse=True)[1]


def inner_part(clip_ids: list[str], groups: dict[str, str], share: float, seed: int) -> np.ndarray:
    """Mask (n,) of the training clips for early stopping: whole groups, about `share` of the clips."""
    group = group_numbers(clip_ids, groups)
    sizes = np.bincount(group)
    order = np.random.default_rng(seed).permutation(len(sizes))
    fit = order[: int((np.cumsum(sizes[order]) <= share * len(group)).sum())]
    return np.isin(group, fit if len(fit) else sizes.argmin())
