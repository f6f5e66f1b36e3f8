"""Kernel ridge regression on learnt patches: seconds of a core per fold.

Clips lie in the space of `features/patch_space.py`, each at several playing speeds: a row per speed. Rows are compared
with landmarks (training rows: all of them, where there are no more than `landmarks`; Williams and Seeger 2001) by a
Gaussian kernel, and targets are regressed on that (Saunders et al. 1998). A clip's prediction is the mean over its
rows. Penalty and temperature are those of least loss when every group (a recordist, say, or a clip that has none) is
left out in turn, with all its rows, which ridge regression has in closed form. Where `columns` names `verified`, the
verified clips' loss counts: they are what folds are scored on, and other labels may be wrong, or of other recordings.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features import frontends, patch_space
from tonestack.features.patch_space import PatchSpace
from tonestack.features.store import Store
from tonestack.labels.training_labels import Labels, group_numbers
from tonestack.settings.model_config import ModelConfig
from tonestack.training.fitted_once import FittedOnce
from tonestack.training.job import FoldJob

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

BLOCK = 512  # clips that are compared with the landmarks at once, and left out at once
LEAST = 50  # verified clips that choose penalty and temperature alone
JITTER = 1e-6  # added to ones on a diagonal, so that equal landmarks do no harm


class Kernel:
    """A fitted regression.

    learnt: tensors by name; those of a `PatchSpace`, and landmarks (M, P), weights (M, C), prior (C,), and logit:
    temperature and offset.
    """

    def __init__(self, learnt: dict[str, Tensor], space: PatchSpace, width: float, several: bool) -> None:
        self.learnt, self.space, self.width, self.several = learnt, space, width, several

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
        said = [
            gaussian(places, t["landmarks"], self.width).mean(dim=1) @ t["weights"] + t["prior"]
            for places in self.space.of(store, clip_ids).split(BLOCK)
        ]
        return _log(torch.cat(said).double().numpy(), t["logit"].numpy(), self.several)


def restore(settings: ModelConfig, tensors: dict[str, Tensor], classes: int, task: str, device: torch.device) -> Kernel:
    """The regression that `Kernel.tensors` describes."""
    params: Any = parts.part_params("models", settings.network, "network")
    space = patch_space.restored(tensors, params, frontends.centres(settings.frontend))
    return Kernel(tensors, space, params.width, not tasks.find(task).one_label)


@torch.no_grad()
def fit(job: FoldJob, store: Store) -> FittedOnce:
    """Regress the labels of the fold's training clips on their places in the space of the store's clips."""
    config = job.experiment.config
    if store.width == 1:
        raise UserError(f"{job.experiment.name}: patches need a spectrogram frontend such as logmel, not a waveform")
    params: Any = parts.part_params("models", config.network, "network")
    space = patch_space.opened(job.cache, store, params, job.experiment.seed, frontends.centres(config.frontend))
    labels = job.labels.take((job.labels.weights > 0) & (store.rows(job.labels.clip_ids)[1] > 0))
    places = space.of(store, labels.clip_ids)
    rows = places.flatten(0, 1)
    drawn = np.random.default_rng(job.experiment.seed * 1000 + job.fold).permutation(len(rows))
    landmarks = rows[np.sort(drawn[: params.landmarks])]
    several = not tasks.find(job.task).one_label
    group = group_numbers(labels.clip_ids, job.groups)
    found = regress(places, landmarks, labels, group, params, several, _counted(job, labels.clip_ids))
    learnt = space.tensors | {"landmarks": landmarks} | found
    return FittedOnce(store, Kernel(learnt, space, params.width, several))


def _counted(job: FoldJob, clip_ids: list[str]) -> np.ndarray | None:
    """Mask (n,) of the clips whose loss chooses penalty and temperature: the verified ones; None if they are few."""
    verified = job.columns.get("verified", {})
    mask = np.array([bool(verified.get(name)) for name in clip_ids])
    return mask if mask.sum() >= LEAST else None


def gaussian(x: Tensor, landmarks: Tensor, width: float) -> Tensor:
    """exp(-width |x - l|²) (..., M) of x (..., P) and landmarks (M, P)."""
    squares = (x * x).sum(-1)[..., None] + (landmarks * landmarks).sum(1) - 2 * x @ landmarks.T
    return (-width * squares.clamp(min=0)).exp()


def regress(
    places: Tensor,
    landmarks: Tensor,
    labels: Labels,
    group: np.ndarray,
    params: Any,
    several: bool,
    counted: np.ndarray | None = None,
) -> dict[str, Tensor]:
    """Weights (M, C) of the landmarks, the prior (C,), and the logit of least loss with every group left out in turn.

    places: (n, S, P) of the clips. group: (n,) numbers. counted: mask (n,) of the clips whose loss counts; None: all.
    An unknown cell says what its class's known ones say. Penalties are tried from the strongest down, until the loss
    rises.
    """
    wanted = 2 * labels.filled - 1
    prior = np.average(wanted, axis=0, weights=labels.weights)
    w, y = torch.from_numpy(labels.weights).double(), torch.from_numpy(wanted - prior).double()
    asked = labels if counted is None else replace(labels, weights=np.where(counted, labels.weights, 0))
    best: tuple[float, np.ndarray, Tensor] | None = None
    for found, left_out in ridge(places, landmarks, y, w, group, params, counted):
        logit, loss = _temper(left_out.numpy() + prior, asked, several)
        if best is not None and loss > best[0]:
            break
        best = loss, logit, found
    assert best is not None  # there is a penalty
    numbers = {"weights": best[2], "prior": torch.from_numpy(prior), "logit": torch.from_numpy(best[1])}
    return {key: value.float() for key, value in numbers.items()}


def ridge(
    places: Tensor,
    landmarks: Tensor,
    y: Tensor,
    w: Tensor,
    group: np.ndarray,
    params: Any,
    counted: np.ndarray | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """At each penalty: weights (M, C) of the landmarks for y (n, C), and what they would say (n, C) without a group.

    w: weights (n,) of the clips. counted: see `regress`; groups without such a clip are not left out, and said to be 0.
    The rows of a group, their fit f and their shares H in the fits of each other give
    what the others say of them: (1 - H)⁻¹ (f - H y).
    """
    between = gaussian(landmarks.double(), landmarks.double(), params.width)  # rounding must not make it indefinite
    between.diagonal().add_(JITTER)
    gram, aims = torch.zeros_like(between), torch.zeros(len(landmarks), y.shape[1]).double()
    for some, aim, weight in zip(places.split(BLOCK), y.split(BLOCK), w.split(BLOCK), strict=True):
        near = gaussian(some, landmarks, params.width).double()  # (n, S, M)
        gram += near.flatten(0, 1).T @ (weight[:, None, None] * near).flatten(0, 1)
        aims += near.sum(1).T @ (weight[:, None] * aim)
    together = _leaving(group, counted)
    for penalty in sorted(params.penalties, reverse=True):
        factor = torch.linalg.cholesky(gram + penalty * between)
        weights = torch.cholesky_solve(aims, factor)
        left_out = torch.zeros_like(y)
        for some in together:  # (groups, clips)
            near = gaussian(places[some].flatten(1, 2), landmarks, params.width).double()  # anew: all may be too many
            turned = torch.linalg.solve_triangular(factor, near.flatten(0, 1).T, upper=False).T.view_as(near)
            aim, weight = (of[some].repeat_interleave(places.shape[1], 1) for of in (y, w))
            own = turned @ turned.mT * weight[:, None]
            rest = (1 + JITTER) * torch.eye(own.shape[1]).double() - own
            found = torch.linalg.solve(rest, near @ weights - own @ aim)
            left_out[some] = found.unflatten(1, (some.shape[1], -1)).mean(2)
        yield weights, left_out


def _leaving(group: np.ndarray, counted: np.ndarray | None = None) -> list[np.ndarray]:
    """Places of clips (groups, clips) that are left out at once: groups of a size, some of them at a time.

    What is more than `BLOCK` in a group is left out apart, and groups without a clip that counts are not left out.
    """
    order = np.argsort(group, kind="stable")
    found = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    whole = [one for one in found if counted is None or counted[one].any()]
    pieces = [piece for one in whole for piece in np.array_split(one, -(-len(one) // BLOCK))]
    sizes = sorted({len(piece) for piece in pieces})
    alike = (np.stack([piece for piece in pieces if len(piece) == size]) for size in sizes)
    return [some for same in alike for some in np.array_split(same, -(-same.size // BLOCK))]


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
