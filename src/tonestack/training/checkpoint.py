"""The state from which a killed run goes on: weights, average, optimisers and history, in one safetensors file."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tonestack.base.files import atomic

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor, nn

SAVING = 0.05  # largest share of the time that saving may take: of epochs of a second on a GPU, not all are saved


@dataclass
class History:
    """One entry per epoch, the best inner loss so far, and the number of parts per batch (see `step.BatchSplit`)."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_inner: float = math.inf
    best_epoch: int = 0
    pieces: int = 1


class Average:
    """Exponential moving average of weights and of batch-normalisation statistics, with a warm-up."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.live = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}  # changed in place
        self.values = {k: v.detach().clone() for k, v in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's current values."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.values.values()), list(self.live.values()), share)


@dataclass(frozen=True)
class LearntLoss:
    """A loss with parameters, and the optimiser that moves them."""

    loss: nn.Module
    optimizer: torch.optim.Optimizer


class State:
    """The file from which a killed run goes on: weights, average, optimisers and history, in one safetensors."""

    def __init__(
        self,
        path: Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Average,
        identity: str,
        learnt_loss: LearntLoss | None = None,
    ) -> None:
        self.path, self.model, self.optimizer, self.average, self.identity = path, model, optimizer, average, identity
        self.learnt_loss = learnt_loss
        self.best: dict[str, Tensor] = {}
        self.saved, self.cost = -math.inf, 0.0  # when the last file was finished, and the seconds it took

    def keep_best(self, history: History, inner: float, epoch: int) -> None:
        """Remember the averaged weights if this epoch's inner loss is the lowest so far."""
        if inner < history.best_inner:
            history.best_inner, history.best_epoch = inner, epoch
            self.best = {key: value.clone() for key, value in self._now().items()}

    def final(self) -> dict[str, Tensor]:
        """The weights to keep: the best epoch's where training stops early, otherwise the averaged ones."""
        return self.best or self._now()

    def _now(self) -> dict[str, Tensor]:
        return self.average.values if self.average.decay else dict(self.model.state_dict())

    def save(self, history: History) -> None:
        """Write the state of the finished epoch atomically, unless the last one is too recent for what it cost."""
        started = time.monotonic()
        if self.path is None or started - self.saved < self.cost / SAVING:
            return
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.values.items()}
        tensors |= {f"best.{key}": value for key, value in self.best.items()}
        tensors |= _moments("optimizer", self.optimizer)
        if self.learnt_loss:
            tensors |= {f"loss.{key}": value for key, value in self.learnt_loss.loss.state_dict().items()}
            tensors |= _moments("loss_optimizer", self.learnt_loss.optimizer)
        tensors["history"] = torch.tensor([list(e.values()) for e in history.epochs], dtype=torch.float64)
        with atomic(self.path) as temporary:
            contiguous = {key: value.contiguous() for key, value in tensors.items()}
            save_file(contiguous, temporary, self._meta(history))
        self.saved = time.monotonic()
        self.cost = self.saved - started

    def _meta(self, history: History) -> dict[str, str]:
        best = f"{history.best_inner!r},{history.best_epoch}"
        counts = {"updates": str(self.average.updates), "pieces": str(history.pieces)}
        return {"run": self.identity, "entries": ",".join(history.epochs[0]), "best": best, **counts}

    def load(self) -> History:
        """Go on from the file if it belongs to this very run; otherwise start afresh."""
        if self.path is None or not self.path.exists():
            return History()
        try:
            with safe_open(self.path, framework="pt") as file:
                meta: dict[str, str] = file.metadata() or {}
        except SafetensorError:
            return History()
        if meta.get("run") != self.identity:
            return History()
        return self._restore(load_file(self.path), meta)

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, str]) -> History:
        names = ("model", "average", "best", "optimizer", "loss", "loss_optimizer")
        parts: dict[str, dict[str, Any]] = {name: {} for name in names}
        history = tensors.pop("history")
        for key, value in tensors.items():
            part, _, rest = key.partition(".")
            parts[part][rest] = value
        self.model.load_state_dict(parts["model"])
        for key, value in parts["average"].items():
            self.average.values[key].copy_(value)
        self.best = parts["best"]
        _restore_moments(self.optimizer, parts["optimizer"])
        if self.learnt_loss:
            self.learnt_loss.loss.load_state_dict(parts["loss"])
            _restore_moments(self.learnt_loss.optimizer, parts["loss_optimizer"])
        columns, best = meta["entries"].split(","), meta["best"].split(",")
        entries = [dict(zip(columns, row, strict=True)) for row in history.tolist()]
        self.average.updates = int(meta["updates"])
        return History(entries, float(best[0]), int(best[1]), int(meta.get("pieces", 1)))


def _moments(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors."""
    state = optimizer.state_dict()["state"].items()
    return {f"{prefix}.{i}.{key}": torch.as_tensor(v) for i, values in state for key, v in values.items()}


def _restore_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state = optimizer.state_dict()
    learnt = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        own = bool(value) if value.dtype == torch.bool else _laid_out_as(value, learnt[int(index)])
        state["state"].setdefault(int(index), {})[name] = own
    optimizer.load_state_dict(state)


def _laid_out_as(value: Tensor, parameter: Tensor) -> Tensor:
    """Fused optimisers walk memory, so a moment must have its parameter's strides (channels_last)."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
