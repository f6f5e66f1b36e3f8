"""Boosted trees (LightGBM, Ke et al. 2017) on clip statistics, kept as LightGBM's own text: no pickle."""

from collections.abc import Callable
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features import clip_statistics
from tonestack.features.store import Store
from tonestack.labels.training_labels import inner_part
from tonestack.settings.model_config import ModelConfig
from tonestack.training.fitted_once import FittedOnce
from tonestack.training.job import FoldJob

import lightgbm as lgb
import numpy as np
import torch
from torch import Tensor

LEAST_SHARE = 0.01  # soft targets below it are not worth a row


class Trees:
    """A booster that predicts clips from statistics of one kind."""

    def __init__(self, booster: lgb.Booster, kind: Any) -> None:
        self.booster, self.kind = booster, kind

    @property
    def params(self) -> int:
        """Number of leaves."""
        return sum(tree["num_leaves"] for tree in self.booster.dump_model()["tree_info"])

    def tensors(self) -> dict[str, Tensor]:
        """The model's text as bytes."""
        return {"model": torch.frombuffer(bytearray(self.booster.model_to_string().encode()), dtype=torch.uint8)}

    def log_probabilities(self, store: Store, clip_ids: list[str], crops: int | None = None) -> np.ndarray:
        """Log-probabilities (N, C) up to a constant a row; NaN rows for clips without audio. Trees use whole clips."""
        x = clip_statistics.table(store, clip_ids, self.kind)
        usable = ~np.isnan(x).any(axis=1)
        logs = np.full((len(x), self.booster.num_model_per_iteration()), np.nan)
        logs[usable] = np.asarray(self.booster.predict(x[usable], raw_score=True, num_threads=1))
        return logs


def restore(settings: ModelConfig, tensors: dict[str, Tensor], classes: int, task: str, device: torch.device) -> Trees:
    """The trees that `Trees.tensors` describes."""
    params: Any = parts.part_params("models", settings.network, "network")
    return Trees(lgb.Booster(model_str=tensors["model"].numpy().tobytes().decode()), params.statistics)


def fit(job: FoldJob, store: Store) -> FittedOnce:
    """Find the number of rounds on an inner part, whole groups apart, then fit all training clips with it."""
    if store.width == 1:
        raise UserError(f"{job.experiment.name}: boosted trees need a frontend such as story or logmel, not a waveform")
    if not tasks.find(job.task).one_label:
        raise UserError(f"{job.experiment.name}: boosted trees are for one label per clip; take clip_forest")
    params: Any = parts.part_params("models", job.experiment.config.network, "network")
    x = clip_statistics.table(store, job.labels.clip_ids, params.statistics)
    shares = job.labels.targets * job.labels.weights[:, None] * ~np.isnan(x).any(axis=1, keepdims=True)
    row, label = np.nonzero(shares > LEAST_SHARE)
    seed = (job.experiment.seed * 1000 + job.fold) % 2**31
    inner = inner_part(job.labels.clip_ids, job.groups, job.experiment.config.training.inner_share, seed)[row]
    settings = _settings(params, len(job.classes), seed, job.threads)

    def data(where: np.ndarray) -> lgb.Dataset:
        fields = {"label": label[where], "weight": shares[row, label][where]}
        return lgb.Dataset(x[row[where]], **fields, params={"verbose": -1, "feature_pre_filter": False})

    stop: list[Callable[..., Any]] = [lgb.early_stopping(params.patience, verbose=False)]
    learnt, judged = data(~inner), data(inner)
    trial = lgb.train(settings, learnt, params.rounds, valid_sets=[judged], callbacks=stop)
    everything = np.ones(len(row), dtype=bool)
    booster = lgb.train(settings, data(everything), max(1, trial.best_iteration))
    return FittedOnce(store, Trees(booster, params.statistics), epochs=booster.current_iteration())


def _settings(params: Any, n_classes: int, seed: int, threads: int) -> dict[str, object]:
    return {
        "objective": "multiclass",
        "num_class": n_classes,
        "learning_rate": params.learning_rate,
        "num_leaves": params.leaves,
        "min_data_in_leaf": params.min_clips,
        "feature_fraction": params.feature_share,
        "bagging_fraction": params.clip_share,
        "bagging_freq": 1,
        "lambda_l2": params.l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbose": -1,
    }
