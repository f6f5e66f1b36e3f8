"""Speaker verification: are both clips of a trial by one speaker? Rows are trials, their score a cosine of embeddings.

A network learns to tell its training speakers apart; speakers of its fold are strangers to it. Beside every table of
cosines lies one with adaptive s-norm (Matejka et al. 2017): scores relative to those of a cohort of training clips.
"""

from typing import TYPE_CHECKING, Any

from tonestack.base.errors import UserError
from tonestack.config.rows import Rows
from tonestack.labels import folds, trials
from tonestack.tables.competition import SubmissionFormat
from tonestack.tasks import classify

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from tonestack.config.call import Run
    from tonestack.settings.data_config import DataConfig, FoldParams
    from tonestack.training.queue import FoldJob

METRICS = ("eer", "min_dcf")
LOSS = classify.LOSS  # a network learns which of its speakers it hears
DEFAULTS: dict[str, Any] = {
    "metric": "eer",
    "more_metrics": ["min_dcf"],
    "fold_mean": "arithmetic",
    "blend": {"searches": ["single", "logistic"]},
}
LOSS = "cross_entropy"  # of a model config that names none
OPEN_SET = True  # speakers of a fold are unknown to its network
SCORE = "score"  # the one column
LABELS = ("0", "1")

targets, log_probabilities = classify.targets, classify.log_probabilities  # of the speakers that a network learns


def check(config: "DataConfig") -> None:
    """Refuse settings that are meant for probabilities of classes."""
    wrong = [name for name in (config.metric, *config.more_metrics) if name not in METRICS]
    if wrong:
        raise UserError(f"metric '{wrong[0]}' says nothing of trials; task=verify is scored by {' or '.join(METRICS)}")
    if config.fold_mean != "arithmetic":
        raise UserError("fold_mean=geometric: cosines may be negative; task=verify takes fold_mean=arithmetic")


def assign(train: pd.DataFrame, params: "FoldParams", place: str, task: str = "verify") -> pd.DataFrame:
    """The folds table with whole speakers in every fold, even in clips."""
    table = train[folds.COLUMNS].reset_index(drop=True).copy()
    speakers = table["label"].nunique()
    if speakers < 2 * params.n:
        raise UserError(f"{place}: {speakers} speakers cannot fill {params.n} folds of two; give a smaller folds.n")
    table["fold"] = folds.split(table.assign(label="", verified=True, group=table["label"]), params)
    return table


def write_rows(run: "Run", table: pd.DataFrame) -> None:
    """Write folds/<name>/trials.csv: the listed trials, or drawn ones, with their folds."""
    place = f"configs/data/{run.words.data}.yaml: folds"
    trials.write(run.folds, trials.placed(_listed(run), table, run.data.verify, place))


def _listed(run: "Run") -> pd.DataFrame | None:
    listed: pd.DataFrame | None = run.competition().extras.get("trials")
    return listed


def rows(run: "Run") -> Rows:
    """Trials within a fold are its OOF rows; all others are predicted by every fold's network."""
    table, listed = trials.read(run.folds), _listed(run)
    within = table["fold"] >= 0
    oof = table[within].assign(verified=True).reset_index(drop=True)
    form = None if listed is None else SubmissionFormat(("trial", SCORE), tuple(listed["clip_id"]), "raw")
    test = tuple(table.loc[~within, "clip_id"])
    return Rows(oof, test, (SCORE,), LABELS, form, run.folds / trials.FILE, probabilities=False, whole=True)


def row_targets(labels: pd.Series, known: tuple[str, ...]) -> np.ndarray:
    """Trial labels as 0 and 1 (n,)."""
    return pd.Index(list(known)).get_indexer(pd.Index(labels))


def truth(targets: np.ndarray) -> np.ndarray:
    """What metrics take: (n,) of 0 and 1."""
    return targets


def tables(job: "FoldJob", fitted: Any) -> dict[str, np.ndarray]:
    """Scores (R, 1) of the fold's trials, then the test's: cosines, and the same with s-norm."""
    if not hasattr(fitted, "unit_embeddings"):
        raise UserError(f"{job.experiment.name}: has no embedding to compare; task=verify takes networks")
    pairs = [name.split(trials.MARK) for name in job.held_out + job.test]
    names = sorted({clip for pair in pairs for clip in pair})
    heard = fitted.unit_embeddings(names)  # (N, D)
    one, two = (pd.Index(names).get_indexer(pd.Index([pair[side] for pair in pairs])) for side in (0, 1))
    cosine = (heard[one] * heard[two]).sum(axis=1)
    mean, std = cohort_statistics(heard, _cohort(job, fitted), job.options.top)
    normed = 0.5 * ((cosine - mean[one]) / std[one] + (cosine - mean[two]) / std[two])
    return {"": _column(cosine), "snorm": _column(normed)}


def cohort_statistics(heard: np.ndarray, cohort: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (N,) of each embedding's (N, D) `top` best products with those of the cohort (S, D)."""
    products = heard @ cohort.T
    best = np.sort(products, axis=1)[:, -top:]
    return best.mean(axis=1), np.maximum(best.std(axis=1), 1e-6)


def _cohort(job: "FoldJob", fitted: Any) -> np.ndarray:
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
