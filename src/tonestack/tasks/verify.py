"""Speaker verification: are both clips of a trial by one speaker? Rows are trials, their score a cosine of embeddings.

A network learns to tell its training speakers apart; it has seen no speaker of its fold. Beside every table of
cosines lies one with adaptive s-norm (Matejka et al. 2017): scores relative to those of a cohort of training clips.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tonestack.base.errors import UserError
from tonestack.labels import folds, trials
from tonestack.labels.training_labels import Labels
from tonestack.settings.data_config import DataConfig, FoldParams, VerifyParams
from tonestack.tables.competition import Competition, SubmissionFormat
from tonestack.tables.rows import Rows
from tonestack.tasks import Task

import numpy as np
import pandas as pd

SCORE = "score"  # the one column
LABELS = ("0", "1")


class TrialJob(Protocol):
    """The part of a fold job that scoring trials needs."""

    @property
    def name(self) -> str:
        """Names the job in messages."""

    held_out: list[str]
    test: list[str]
    fold: int
    labels: Labels
    options: VerifyParams


class Verify(Task):
    """A network learns its training speakers; rows are trials, their score a cosine."""

    name = "verify"
    metrics = ("eer", "min_dcf")
    defaults: dict[str, Any] = {
        "metric": "eer",
        "more_metrics": ["min_dcf"],
        "fold_mean": "arithmetic",
        "blend": {"searches": ["single", "logistic"]},
    }
    tags = False
    clip_rows = False
    open_set = True

    def check(self, config: DataConfig) -> None:
        """Refuse settings that are meant for probabilities of classes."""
        if config.fold_mean != "arithmetic":
            raise UserError("fold_mean=geometric: cosines may be negative; task=verify takes fold_mean=arithmetic")

    def row_targets(self, labels: pd.Series, known: tuple[str, ...]) -> np.ndarray:
        """Trial labels as 0 and 1 (n,); an unknown one is a `UserError` naming it."""
        codes = pd.Index(list(known)).get_indexer(pd.Index(labels))
        if (codes < 0).any():
            raise UserError(f"label '{labels.to_numpy()[codes < 0][0]}' of a trial is neither {' nor '.join(known)}")
        return codes

    def truth(self, targets: np.ndarray) -> np.ndarray:
        """Targets of trials, 0 and 1 (n,), as they are."""
        return targets

    def assign(self, train: pd.DataFrame, params: FoldParams, place: str) -> pd.DataFrame:
        """The folds table with whole speakers in every fold, even in clips."""
        table = train[folds.COLUMNS].reset_index(drop=True).copy()
        speakers = table["label"].nunique()
        if speakers < 2 * params.n:
            raise UserError(f"{place}: {speakers} speakers cannot fill {params.n} folds of two; give a smaller folds.n")
        table["fold"] = folds.split(table.assign(label="", verified=True, group=table["label"]), params)
        return table

    def write_rows(self, folder: Path, table: pd.DataFrame, competition: Competition, options: Any, place: str) -> None:
        """Write trials.csv: the listed trials, or drawn ones, with their folds."""
        trials.write(folder, trials.placed(_listed(competition), table, options, place))

    def rows(self, folder: Path, table: pd.DataFrame, competition: Competition) -> Rows:
        """Trials within a fold are its OOF rows; all others are predicted by every fold's network."""
        placed, listed = trials.read(folder), _listed(competition)
        within = placed["fold"] >= 0
        speaker = dict(zip(table["clip_id"], table["label"], strict=True))
        sides = {"group": placed["enrol"].map(speaker), "other_group": placed["test"].map(speaker)}
        oof = placed.assign(verified=True, **sides)[within].reset_index(drop=True)
        form = None if listed is None else SubmissionFormat(("trial", SCORE), tuple(listed["clip_id"]), "raw")
        test = tuple(placed.loc[~within, "clip_id"])
        return Rows(oof, test, (SCORE,), LABELS, form, folder / trials.FILE, probabilities=False, whole=True)

    def tables(self, job: TrialJob, fitted: Any, predicted: Callable[[], np.ndarray]) -> dict[str, np.ndarray]:
        """Scores (R, 1) of the fold's trials, then the test's: cosines, and the same with s-norm."""
        if not hasattr(fitted, "unit_embeddings"):
            raise UserError(f"{job.name}: has no embedding to compare; task=verify takes networks")
        pairs = [name.split(trials.MARK) for name in job.held_out + job.test]
        names = sorted({clip for pair in pairs for clip in pair})
        heard = fitted.unit_embeddings(names)  # (N, D)
        one, two = (pd.Index(names).get_indexer(pd.Index([pair[side] for pair in pairs])) for side in (0, 1))
        cosine = (heard[one] * heard[two]).sum(axis=1)
        mean, std = cohort_statistics(heard, _cohort(job, fitted), job.options.top)
        normed = 0.5 * ((cosine - mean[one]) / std[one] + (cosine - mean[two]) / std[two])
        return {"": _column(cosine), "snorm": _column(normed)}


def _listed(competition: Competition) -> pd.DataFrame | None:
    listed: pd.DataFrame | None = competition.extras.get("trials")
    return listed


def cohort_statistics(heard: np.ndarray, cohort: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (N,) of each embedding's (N, D) `top` best products with those of the cohort (S, D)."""
    products = heard @ cohort.T
    best = np.sort(products, axis=1)[:, -top:]
    return best.mean(axis=1), np.maximum(best.std(axis=1), 1e-6)


def _cohort(job: TrialJob, fitted: Any) -> np.ndarray:
    """Embeddings (S, D) of training clips drawn at random, or their speakers' means."""
    rng = np.random.default_rng([job.options.seed, job.fold])
    chosen = np.sort(rng.permutation(len(job.labels.clip_ids))[: job.options.cohort_size])
    heard = fitted.unit_embeddings([job.labels.clip_ids[i] for i in chosen])
    there = ~np.isnan(heard).any(axis=1)
    heard, speaker = heard[there], job.labels.targets[chosen].argmax(axis=1)[there]
    if job.options.cohort == "clips":
        return heard
    return np.stack([heard[speaker == s].mean(axis=0) for s in np.unique(speaker)])


def _column(scores: np.ndarray) -> np.ndarray:
    """Scores as the table's one column; a trial with a clip that cannot be heard says nothing: the mean of all."""
    mean = np.nanmean(scores) if np.isfinite(scores).any() else 0.0
    return np.where(np.isnan(scores), mean, scores).astype(np.float32)[:, None]


TASK = Verify()
