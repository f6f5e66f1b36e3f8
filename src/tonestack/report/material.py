"""Inputs of the report: tables, receipts and pictures of the other stages, all read lazily."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import read_csv, read_json, read_text
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.ensemble import leaderboard
from tonestack.ensemble.tables import Tables
from tonestack.features import store
from tonestack.settings.data_config import ReportParams
from tonestack.tables import oof
from tonestack.tables.competition import TIMES
from tonestack.tables.metrics import Metric, resolve

import numpy as np
import pandas as pd

DECODED = ["status", "reason", "seconds", "audio_hash"]  # columns of the feature store's table of clips


@dataclass(frozen=True)
class PredictionTable:
    """One table: OOF rows (N, C) float32 of the training clips, NaN where it has none; test rows (M, C) or None."""

    name: str
    train: np.ndarray
    test: np.ndarray | None

    @property
    def every(self) -> np.ndarray:
        """Rows (N + M, C) of all clips, NaN where there are none; without a test part (N, C)."""
        return self.train if self.test is None else np.concatenate([self.train, self.test])


@dataclass(frozen=True)
class Material:
    """One competition's files, and the clips by number: training clips in the order of r0.csv, then test clips."""

    call: Call

    @property
    def params(self) -> ReportParams:
        """The report's settings."""
        return self.call.data.report

    @property
    def folder(self) -> Path:
        """The report's folder."""
        return self.call.reports

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels' own spelling."""
        return self.call.competition().classes

    @property
    def one_label(self) -> bool:
        """True if every clip has exactly one label, so that predictions are right or wrong."""
        return self.call.task.tags and self.call.task.one_label

    @cached_property
    def metric(self) -> Metric:
        """The competition's metric."""
        return resolve(self.call.data.metric)

    # ------------------------------------------------------------------------------------------------------- the clips

    @cached_property
    def folds(self) -> pd.DataFrame:
        """The folds table: `clip_id, label, verified, group, fold`, N rows."""
        return self.call.labels.folds

    @cached_property
    def clips(self) -> pd.DataFrame:
        """All clips: `clip_id, part, label, verified, fold, path, start, end` and, once decoded, `status, reason,
        seconds, audio_hash`; a test clip's label is ''."""
        competition = self.call.competition()
        places = competition.clips_by_id[["path", *TIMES]]
        train = self.folds.assign(part="train")
        test = competition.test[["clip_id"]].assign(part="test", label="", verified=False, fold=-1)
        clips = pd.concat([train, test], ignore_index=True)[["clip_id", "part", "label", "verified", "fold"]]
        clips = clips.join(places, on="clip_id").fillna({"path": ""})
        known = self.decoded.set_index("clip_id")[DECODED]
        clips = clips.join(known, on="clip_id")
        text = {name: clips[name].fillna("") for name in ("status", "reason", "audio_hash")}
        return clips.assign(**text)

    @cached_property
    def decoded(self) -> pd.DataFrame:
        """The newest feature store's table of clips; empty before decoding."""
        found = store.newest_clips(self.call.cache)
        return pd.DataFrame(columns=["clip_id", "part", *DECODED]) if found is None else found

    @cached_property
    def targets(self) -> np.ndarray:
        """Class indices (N,) of the given labels; (N, C) of 0, 1 and `UNKNOWN` where a clip has several."""
        return self.call.task.row_truth(self.folds["label"].tolist(), self.classes)

    # ------------------------------------------------------------------------------------------------------ the tables

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard, best first, with each table's `kind`."""
        board = leaderboard.update(self.call)
        return board.assign(kind=[oof.kind_of(self.call.oof / name) for name in board["experiment"]])

    @cached_property
    def submitted(self) -> str | None:
        """The table that was submitted last, if it still exists."""
        path = self.call.submissions / "log.csv"
        if not path.is_file():
            return None
        log = submission.read_log(path)
        names = log.loc[log["file"] == "submission.csv", "table"]
        return str(names.iloc[-1]) if len(names) and names.iloc[-1] in set(self.board["experiment"]) else None

    @cached_property
    def choice(self) -> dict[str, Any]:
        """What `submit` chose last: `table`, and `cv` and `se` of the choice, nested; {} if the table is not there."""
        path = self.call.submissions / "choice.json"
        found = read_json(path) if path.is_file() else {}
        return found if found.get("table") in set(self.board["experiment"]) else {}

    @cached_property
    def first(self) -> str | None:
        """The table submitted or chosen, else the best by cross-validation."""
        ranked = self.board.loc[self.board["cv"].notna(), "experiment"].astype(str).tolist()
        return self.submitted or self.choice.get("table") or next(iter(ranked), None)

    @cached_property
    def best(self) -> PredictionTable | None:
        """The table that the pages look into: `first`, or the best one that has rows to look into."""
        ranked = self.board.loc[self.board["cv"].notna(), "experiment"].astype(str).tolist()
        names = [self.first, *ranked] if self.first else []
        return next((found for name in names if (found := self.predictions(name)) is not None), None)

    def predictions(self, name: str) -> PredictionTable | None:
        """A table of the leaderboard, its rows summing to one where a clip has one label.

        None without an OOF part, and for tables whose rows are not clips (trials, queries).
        """
        tables = Tables.of(self.call, [name])
        try:
            found = tables.read(name)
        except UserError:  # damaged since the leaderboard was made
            return None
        if found.oof is None or found.oof.shape != (len(self.folds), len(self.classes)):
            return None
        train = found.oof / found.oof.sum(axis=1, keepdims=True) if tables.normalise else found.oof
        return PredictionTable(name, train, None if found.test is None else tables.combine(found.test))

    def judged(self, predictions: PredictionTable) -> np.ndarray:
        """Numbers (n,) of the clips that scores count and the table has a row for."""
        there = np.isfinite(predictions.train).all(axis=1)
        verified = self.folds["verified"].to_numpy(bool) & (self.folds["fold"].to_numpy(int) >= 0)
        return np.flatnonzero(there & verified)

    # ------------------------------------------------------------------------------------------------------- the files

    @cached_property
    def receipts(self) -> dict[str, list[dict[str, Any]]]:
        """The receipts of every trained experiment's finished folds."""
        names = [n for n in oof.experiments(self.call.oof) if oof.receipts(self.call.oof / n)]
        return {n: [read_json(path, {"fold": int}) for path in oof.receipts(self.call.oof / n).values()] for n in names}

    @cached_property
    def corrections(self) -> pd.DataFrame:
        """The corrections that people have made on the audit page."""
        return self.call.labels.corrections

    def csv(self, path: Path, needed: Iterable[str] = ()) -> pd.DataFrame | None:
        """Read a csv of a stage, names as text; None where it is absent or empty (nothing was found).

        needed: columns that it must have.
        """
        if not path.is_file() or not read_text(path).strip():
            return None
        text = ("experiment", "clip_id", "given_label", "proposed_label", "group", "revision")
        table = read_csv(path, text, needed, blanks=False)
        return table if len(table) else None

    def pictures(self, *patterns: str) -> list[Path]:
        """Pictures below the report's folder, in order of name; links that leave it are left out."""
        found = {path for pattern in patterns for path in self.folder.glob(pattern)}
        return sorted(path for path in found if path.resolve().is_relative_to(self.folder.resolve()))
