"""Kernel ridge regression on pooled responses to learnt patches: a minute of a core for two thousand clips.

Columns are standardised on the training clips and turned to their principal components. A clip is compared with
landmarks (training clips: all of them, where there are no more than `landmarks`; Williams and Seeger 2001) by a
Gaussian kernel, and targets are regressed on that (Saunders et al. 1998). Penalty and temperature are those of least
loss when every clip is left out in turn, which ridge regression has in closed form.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features import clip_statistics, patches
from tonestack.features.patches import Patches
from tonestack.features.store import Store
from tonestack.labels.training_labels import Labels
from tonestack.settings.model_config import ModelConfig
from tonestack.training.fitted_once import FittedOnce
from tonestack.training.job import FoldJob

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

BLOCK = 512  # clips whose columns are held in float32 at once
MOST = 6e4  # of what float16 holds: the frames of an hour are more
LEAST = 1e-6  # of the largest eigenvalue: below it a direction is rounding


class Kernel:
    """A fitted regression: its tensors by name.

    filters, bias: the patches. mean, scale: (D,) of the columns. turn: (D, P) float16, principal components of
    standardised columns. landmarks: (M, P). weights: (M, C). prior: (C,). logit: temperature and offset.
    """

    def __init__(self, learnt: dict[str, Tensor], settings: Any, several: bool) -> None:
        self.learnt, self.settings, self.several = learnt, settings, several
        self.patches = Patches(learnt["filters"], learnt["bias"])

    @property
    def params(self) -> int:
        """Number of learnt numbers."""
        return sum(tensor.numel() for tensor in self.learnt.values())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors, laid out for a file."""
        return {name: tensor.contiguous() for name, tensor in self.learnt.items()}

    def log_probabilities(self, store: Store, clip_ids: list[str], crops: int | None = None) -> np.ndarray:
        """Log-probabilities (N, C); NaN rows for clips without audio. The regression takes whole clips."""
        t = self.learnt
        logs = np.full((len(clip_ids), len(t["prior"])), np.nan)
        for start in range(0, len(clip_ids), BLOCK):
            columns, usable = _columns(self.patches, store, clip_ids[start : start + BLOCK], self.settings)
            if not usable.any():
                continue
            at = _standardised(columns, t["mean"], t["scale"], self.settings, store) @ t["turn"].float()
            values = (_gaussian(at, t["landmarks"], self.settings.width) @ t["weights"] + t["prior"]).numpy()
            logs[start : start + BLOCK][usable] = _log(values.astype(np.float64), t["logit"].numpy(), self.several)
        return logs


def restore(settings: ModelConfig, tensors: dict[str, Tensor], classes: int, task: str, device: torch.device) -> Kernel:
    """The regression that `Kernel.tensors` describes."""
    params: Any = parts.part_params("models", settings.network, "network")
    return Kernel(tensors, params, not tasks.find(task).one_label)


@torch.no_grad()
def fit(job: FoldJob, store: Store) -> FittedOnce:
    """Learn patches and the regression from the fold's training clips."""
    if store.width == 1:
        raise UserError(f"{job.experiment.name}: patches need a spectrogram frontend such as logmel, not a waveform")
    params: Any = parts.part_params("models", job.experiment.config.network, "network")
    seed = job.experiment.seed * 1000 + job.fold
    labels = _heard(job.labels, store)
    found = patches.learn(store, labels.clip_ids, params, seed)
    columns, _ = _columns(found, store, labels.clip_ids, params)
    mean, scale = _moments(columns)
    landmark = np.sort(np.random.default_rng(seed).permutation(len(columns))[: params.landmarks])
    turn = _components(_standardised(columns[landmark], mean, scale, params, store), params.components)
    blocks = (_standardised(block, mean, scale, params, store) for block in columns.split(BLOCK))
    at = torch.cat([block @ turn.float() for block in blocks])
    several = not tasks.find(job.task).one_label
    learnt = _regress(at, at[landmark], labels, params, several)
    tensors = {"filters": found.filters, "bias": found.bias, "mean": mean, "scale": scale, "turn": turn}
    return FittedOnce(store, Kernel(tensors | {"landmarks": at[landmark]} | learnt, params, several))


def _heard(labels: Labels, store: Store) -> Labels:
    """The labels of clips that have a weight and audio."""
    return labels.take((labels.weights > 0) & (store.rows(labels.clip_ids)[1] > 0))


def _columns(found: Patches, store: Store, clip_ids: list[str], params: Any) -> tuple[Tensor, np.ndarray]:
    """Responses and statistics (n, D) float16 of the clips that have audio, and which of the clips those are (N,)."""
    usable = store.rows(clip_ids)[1] > 0
    heard = [name for name, there in zip(clip_ids, usable, strict=True) if there]
    if not heard:
        return torch.zeros(0, 0), usable
    statistics = torch.from_numpy(clip_statistics.table(store, heard)).clamp(-MOST, MOST)
    spectra = (x for x in patches.clips(store, heard, params) if x is not None)
    rows = (found.responses(x, params) for x in spectra)
    return torch.stack([torch.cat(pair).half() for pair in zip(rows, statistics, strict=True)]), usable


def _moments(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of columns (n, D)."""
    blocks = columns.split(BLOCK)
    mean = torch.stack([block.double().sum(0) for block in blocks]).sum(0) / len(columns)
    variance = torch.stack([(block.double() - mean).square().sum(0) for block in blocks]).sum(0) / len(columns)
    return mean.float(), (variance.sqrt() + 1e-3).float()


def _standardised(columns: Tensor, mean: Tensor, scale: Tensor, params: Any, store: Store) -> Tensor:
    """Columns (n, D) such that squared differences of responses and of statistics are means, weighed."""
    statistics = len(clip_statistics.names(store.width))
    of_responses = columns.shape[1] - statistics
    weigh = torch.full((columns.shape[1],), of_responses**-0.5)
    weigh[of_responses:] = (params.statistics / statistics) ** 0.5
    return (columns.float() - mean) / scale * weigh


def _components(x: Tensor, most: int) -> Tensor:
    """Principal directions (D, P) of x (m, D), from the products of its rows."""
    values, vectors = torch.linalg.eigh((x @ x.T).double())
    kept = values > LEAST * values[-1]
    kept[:-most] = False
    return (x.T @ (vectors[:, kept] / values[kept].sqrt()).float()).half()


def _gaussian(x: Tensor, landmarks: Tensor, width: float) -> Tensor:
    """exp(-width |x - l|²) (n, M) of x (n, P) and landmarks (M, P)."""
    squares = (x * x).sum(1)[:, None] + (landmarks * landmarks).sum(1) - 2 * x @ landmarks.T
    return (-width * squares.clamp(min=0)).exp()


def _regress(x: Tensor, landmarks: Tensor, labels: Labels, params: Any, several: bool) -> dict[str, Tensor]:
    """Weights (M, C) of the landmarks, the prior (C,), and the logit of least loss with every clip left out in turn.

    An unknown cell says what its class's known ones say.
    """
    values, vectors = torch.linalg.eigh(_gaussian(landmarks, landmarks, params.width).double())
    kept = values > LEAST * values[-1]
    whiten = vectors[:, kept] / values[kept].sqrt()
    phi = _gaussian(x, landmarks, params.width).double() @ whiten  # products of its rows are the kernel
    wanted = 2 * labels.filled - 1
    prior = np.average(wanted, axis=0, weights=labels.weights)
    w, y = torch.from_numpy(labels.weights.astype(np.float64)), torch.from_numpy(wanted - prior)
    best: tuple[float, np.ndarray, Tensor] | None = None
    for turn, left_out in _ridge(phi, y, w, params.penalties):
        logit, loss = _temper(left_out.numpy() + prior, labels, several)
        if best is None or loss < best[0]:
            best = loss, logit, whiten @ turn
    assert best is not None  # there is a penalty
    numbers = {"weights": best[2], "prior": torch.from_numpy(prior), "logit": torch.from_numpy(best[1])}
    return {key: value.float() for key, value in numbers.items()}


def _ridge(phi: Tensor, y: Tensor, w: Tensor, penalties: Iterable[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """At each penalty: weights (R, C) of phi (n, R) for y (n, C), rows weighed by w (n,); y as told without the row.

    A row's own share of its fit, its leverage h, gives the value without it: (fit - h y) / (1 - h).
    """
    spectrum, axes = torch.linalg.eigh(phi.T @ (w[:, None] * phi))
    turned, aims = phi @ axes, axes.T @ (phi.T @ (w[:, None] * y))
    for penalty in penalties:
        inverse = 1 / (spectrum.clamp(min=0) + penalty)
        leverage = (w * (turned.square() @ inverse))[:, None]
        fitted = turned @ (inverse[:, None] * aims)
        yield axes @ (inverse[:, None] * aims), (fitted - leverage * y) / (1 - leverage).clamp(min=LEAST)


def _log(values: np.ndarray, logit: np.ndarray, several: bool) -> np.ndarray:
    """Log-probabilities (N, C) of regressed values."""
    temperature, offset = logit
    scaled = temperature * values
    logs: np.ndarray = -np.logaddexp(0, -scaled - offset) if several else log_softmax(scaled, axis=1)
    return logs


def _temper(values: np.ndarray, labels: Labels, several: bool) -> tuple[np.ndarray, float]:
    """Temperature and offset (2,) of least cross entropy on the known cells, and that loss."""
    known = ~np.isnan(labels.targets)
    aims, weigh = np.nan_to_num(labels.targets), np.where(known, labels.weights[:, None], 0)

    def loss(at: np.ndarray) -> float:
        logs = _log(values, np.array([np.exp(at[0]), at[1]]), several)
        missed = (1 - aims) * np.log1p(-np.minimum(np.exp(logs), 1 - 1e-12)) if several else 0
        return float(-((aims * logs + missed) * weigh).sum() / weigh.sum())

    start = np.array([np.log(8.0), 0.0])
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-3, "fatol": 1e-6})
    return np.array([np.exp(found.x[0]), found.x[1] if several else 0.0]), float(found.fun)
