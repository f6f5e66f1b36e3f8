"""Stacking: a second model that reads the first models' out-of-fold rows.

Its own predictions are nested: the stacker of fold k learns from the other folds' rows alone, and even the
number of boosting rounds is chosen inside them.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from joblib import Parallel, delayed
from pydantic import Field

from tonestack.ensemble.blends import row_normal
from tonestack.oof import FLOOR
from tonestack.section import Section


class StackParams(Section):
    """Settings of the `stack` stage."""

    tables: tuple[str, ...] = ()  # experiments to stack; none named: all there are
    stackers: tuple[str, ...] = ("logistic", "lightgbm")
    unverified_weight: float = Field(default=0.3, ge=0, le=1)  # of clips whose label nobody checked
    clip_statistics: bool = True  # use the clip table's numbers where there is one
    rounds: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)  # rounds without a better inner log loss
    learning_rate: float = Field(default=0.2, gt=0)
    leaves: int = Field(default=7, ge=2)
    min_clips: int = Field(default=10, ge=1)  # in a leaf
    feature_fraction: float = Field(default=0.3, gt=0, le=1)
    l2_leaves: float = Field(default=1.5, ge=0)
    l2_logistic: float = Field(default=0.01, gt=0)  # penalty per clip on squared weights
    jobs: int = Field(default=2, ge=1)  # folds fitted at once, each on one thread


class Fitted(Protocol):
    """A fitted stacker: features (R, F) -> probabilities (R, C)."""

    def __call__(self, features: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Rows:
    """What a stacker learns from: features (R, F), class indices (R,), weights (R,), folds (R,)."""

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    fold: np.ndarray
    classes: int

    def where(self, keep: np.ndarray) -> "Rows":
        """Some of the rows."""
        return Rows(self.features[keep], self.targets[keep], self.weights[keep], self.fold[keep], self.classes)


def features(tables: np.ndarray, statistics: np.ndarray | None = None) -> np.ndarray:
    """Columns for every clip: log probabilities, entropies, top-two margins and, if given, clip statistics.

    tables (M, N, C), statistics (N, S) -> (N, M*C + 2*M + S) float32.
    """
    p = np.maximum(row_normal(tables), np.float32(FLOOR))
    logs = np.log(np.maximum(p, np.float32(1e-4)))  # beyond 1e-4 a model's doubt carries no news, only spread
    entropy = -(p * np.log(p)).sum(axis=2)  # (M, N), nats
    two = np.partition(p, -2, axis=2)[:, :, -2:] if p.shape[2] > 1 else np.concatenate([1 - p, p], axis=2)
    margin = two[:, :, 1] - two[:, :, 0]
    flat = logs.transpose(1, 0, 2).reshape(tables.shape[1], -1)
    columns = [flat, entropy.T, margin.T]
    return np.concatenate([*columns, statistics] if statistics is not None else columns, axis=1, dtype=np.float32)


def fit(name: str, rows: Rows, params: StackParams, seed: int) -> Fitted:
    """Fit the stacker called `name` (`lightgbm`, `logistic`)."""
    module: Any = importlib.import_module(f"tonestack.ensemble._stack_{name}")
    fitted: Fitted = module.fit(rows, params, seed)
    return fitted


def nested(name: str, rows: Rows, predict: np.ndarray, fold: np.ndarray, params: StackParams, seed: int) -> np.ndarray:
    """Out-of-fold probabilities of the stacker: features `predict` (N, F) of folds (N,) -> (N, C).

    Rows of fold -1 stay NaN: no model predicts them.
    """
    result = np.full((len(predict), rows.classes), np.nan, dtype=np.float32)

    def one(k: int) -> np.ndarray:
        return fit(name, rows.where(rows.fold != k), params, seed)(predict[fold == k])

    folds = np.unique(fold[fold >= 0])
    parts = Parallel(n_jobs=params.jobs, prefer="threads")(delayed(one)(k) for k in folds)
    for k, part in zip(folds, parts, strict=True):
        result[fold == k] = part
    return result


def inner_split(rows: Rows, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (learn, stop) inside the training rows: one fold where there are several, else a random fifth."""
    folds = np.unique(rows.fold)
    if len(folds) > 1:
        stop = rows.fold == folds[seed % len(folds)]
    else:
        stop = np.random.default_rng(seed).random(len(rows.fold)) < 0.2
    return ~stop, stop
