"""Linear probes: multinomial or one-against-rest logistic regression on embeddings, its L2 penalty found inside.

Columns are standardised on the training clips and divided by the root of their number, so that a penalty means the same
for 192 columns as for 2,048. The path goes from the strongest penalty down, each fit starting from the one before.
"""

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

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from torch import Tensor

Data = tuple[np.ndarray, np.ndarray, np.ndarray]  # standardised columns (n, S), targets (n, C), weights (n,)


class Probe:
    """Weights (S + 1, C), the bias last; mean and scale (S,) of the columns."""

    def __init__(self, arrays: dict[str, np.ndarray], kind: Any, several: bool) -> None:
        self.arrays, self.kind, self.several = arrays, kind, several

    @property
    def params(self) -> int:
        """Number of weights."""
        return int(self.arrays["weights"].size)

    def tensors(self) -> dict[str, Tensor]:
        """The arrays; `penalty` is the one chosen."""
        return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in self.arrays.items()}

    def log_probabilities(self, store: Store, clip_ids: list[str], crops: int | None = None) -> np.ndarray:
        """Log-probabilities (N, C); NaN rows for clips without audio. A probe uses whole clips."""
        x = clip_statistics.table(store, clip_ids, self.kind)
        a = self.arrays
        logits = (x - a["mean"]) / a["scale"] @ a["weights"][:-1] + a["weights"][-1]
        logs: np.ndarray = -np.logaddexp(0, -logits) if self.several else log_softmax(logits, axis=1)
        return logs


def restore(settings: ModelConfig, tensors: dict[str, Tensor], classes: int, task: str, device: torch.device) -> Probe:
    """The probe that `Probe.tensors` describes."""
    params: Any = parts.part_params("models", settings.network, "network")
    arrays = {key: value.numpy() for key, value in tensors.items()}
    return Probe(arrays, params.statistics, not tasks.find(task).one_label)


def fit(job: FoldJob, store: Store) -> FittedOnce:
    """Find the penalty on inner parts of the fold's training clips, then fit all of them."""
    if store.width == 1:
        raise UserError(f"{job.experiment.name}: a linear probe needs a frontend such as embedding, not a waveform")
    params: Any = parts.part_params("models", job.experiment.config.network, "network")
    x = clip_statistics.table(store, job.labels.clip_ids, params.statistics)
    usable = ~np.isnan(x).any(axis=1) & (job.labels.weights > 0)
    mean, scale = x[usable].mean(axis=0), x[usable].std(axis=0)
    scale = np.maximum(scale, 1e-3 * scale.max() + 1e-9) * np.sqrt(x.shape[1])
    columns = ((x[usable] - mean) / scale).astype(np.float32)
    data = columns, job.labels.filled[usable].astype(np.float32), job.labels.weights[usable]
    several = not tasks.find(job.task).one_label
    ids = [name for name, there in zip(job.labels.clip_ids, usable, strict=True) if there]
    seed = (job.experiment.seed * 1000 + job.fold) % 2**31
    share = job.experiment.config.training.inner_share
    inner = [inner_part(ids, job.groups, share, seed + part * 7919) for part in range(params.inner)]
    penalties, tried = search(data, inner, params, several)
    weights = path(data, penalties, params.steps, several)[-1]
    arrays = {"weights": weights, "mean": mean, "scale": scale, "penalty": np.array(penalties[-1:])}
    arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
    return FittedOnce(store, Probe(arrays, params.statistics, several), tried)


def search(data: Data, inner: list[np.ndarray], params: Any, several: bool) -> tuple[list[float], int]:
    """The penalties down to the one of least inner loss, and how many were tried."""
    penalties = sorted(params.penalties, reverse=True)
    if len(penalties) == 1 or len(data[0]) < 4:
        return penalties[:1], 1
    weights: list[np.ndarray | None] = [None] * len(inner)
    losses: list[float] = []
    for penalty in penalties:
        found = 0.0
        for number, judged in enumerate(inner):
            learnt = _rows(data, ~judged)
            weights[number] = made = solve(learnt, penalty, params.steps, several, weights[number])
            found += loss(_rows(data, judged), made, several)
        losses.append(found)
        if found > min(losses) * 1.02:
            break  # beyond the minimum, weaker penalties only fit noise, and slowly
    return penalties[: int(np.argmin(losses)) + 1], len(losses)


def path(data: Data, penalties: list[float], steps: int, several: bool) -> list[np.ndarray]:
    """Weights (S + 1, C) at each penalty, each from the one before."""
    found: list[np.ndarray] = []
    for penalty in penalties:
        found.append(solve(data, penalty, steps, several, found[-1] if found else None))
    return found


def solve(data: Data, penalty: float, steps: int, several: bool, start: np.ndarray | None = None) -> np.ndarray:
    """The weights (S + 1, C) of least penalised loss; the bias is not penalised."""
    x, targets, weights = data
    shape, pull = (x.shape[1] + 1, targets.shape[1]), penalty / x.shape[1]
    share = (weights / weights.sum())[:, None].astype(np.float32)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(shape).astype(np.float32)  # twice as fast, and the search needs no more
        value, slope = _loss_and_slope(x @ w[:-1] + w[-1], targets, several)
        error = share * slope
        gradient = np.concatenate([x.T @ error + pull * w[:-1], error.sum(axis=0)[None]])
        return float((share[:, 0] * value).sum() + pull / 2 * np.square(w[:-1]).sum()), gradient.ravel().astype(float)

    begin = np.zeros(shape) if start is None else start
    found = minimize(objective, begin.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 1e-6})
    return np.asarray(found.x).reshape(shape)


def loss(data: Data, w: np.ndarray, several: bool) -> float:
    """Weighted mean of the cross-entropy over clips."""
    x, targets, weights = data
    each = _loss_and_slope(x @ w[:-1] + w[-1], targets, several)[0]
    return float((weights * each).sum() / weights.sum())


def _loss_and_slope(logits: np.ndarray, targets: np.ndarray, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Each clip's cross-entropy (n,) and its derivative by the logits (n, C)."""
    if several:
        return (np.logaddexp(0, logits) - targets * logits).sum(axis=1), expit(logits) - targets
    logs = log_softmax(logits, axis=1)
    return -(targets * logs).sum(axis=1), targets.sum(axis=1, keepdims=True) * np.exp(logs) - targets


def _rows(data: Data, chosen: np.ndarray) -> Data:
    return data[0][chosen], data[1][chosen], data[2][chosen]
