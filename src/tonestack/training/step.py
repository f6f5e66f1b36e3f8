"""One training step as a function of tensors alone: as it is, compiled, or recorded and replayed as a CUDA graph.

A step never makes the host wait for the device: it reads no value back and copies nothing that is not pinned.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tonestack.base.errors import UserError
from tonestack.networks.layers import Network, Outputs, Tagger
from tonestack.networks.losses import AnyLoss, EmbeddingLoss
from tonestack.settings.model_config import ModelConfig, TrainingParams
from tonestack.training.augment import (
    Draws,
    add_partners,
    augment,
    louder,
    mix_cut,
    mix_powers,
    mix_values,
    mix_waves,
    mixup,
    play_faster,
    playing_rate,
    power_above,
    put_under,
)
from tonestack.training.device import autocast, bfloat16_pays, compiles, records

import torch
from torch import Tensor

T = TypeVar("T")


def make_optimizer(model: torch.nn.Module, params: TrainingParams) -> torch.optim.Optimizer:
    """Muon, AdamW, Adam or SGD; biases and normalisation scales are not decayed. Groups keep their shares of the rate.

    Muon (Jordan 2024) steps along the orthogonalised momentum of every convolution and matrix, as far as a step of
    AdamW is long (Liu et al. 2025). All else has NAdamW, a first convolution of one channel included.
    """
    learnt = [p for p in model.parameters() if p.requires_grad]
    shares = depth_shares(model, params.layer_decay)
    groups: list[dict[str, Any]] = []
    for share in sorted({shares.get(p, 1.0) for p in learnt}, reverse=True):
        here = [p for p in learnt if shares.get(p, 1.0) == share]
        decayed, plain = [p for p in here if p.dim() > 1], [p for p in here if p.dim() <= 1]
        groups.append({"params": decayed, "weight_decay": params.weight_decay, "share": share})
        groups.append({"params": plain, "weight_decay": 0.0, "share": share})
    recorded = records(learnt[0].device, params)
    for group in groups:  # a graph cannot take floats
        own = params.lr * group["share"]
        group["lr"] = torch.tensor(own, device=learnt[0].device) if recorded else own
    rate: Any = groups[0]["lr"]
    if params.optimizer == "sgd":
        nesterov = params.momentum > 0
        return torch.optim.SGD(groups, lr=rate, momentum=params.momentum, nesterov=nesterov, fused=recorded or None)
    if params.optimizer == "muon":
        from tonestack.training.muon import Float32Muon  # here, as timm takes a second to import

        from timm.optim import Muon

        muon = Muon if bfloat16_pays(learnt[0].device) else Float32Muon
        return muon(groups, lr=rate, momentum=0.95, nesterov=True, betas=params.betas, capturable=recorded)
    kind = torch.optim.AdamW if params.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, betas=params.betas, eps=params.eps, fused=True, capturable=recorded)


def depth_shares(model: torch.nn.Module, decay: float) -> dict[torch.nn.Parameter, float]:
    """Each parameter's share of the learning rate: 1 at the classifier, less by `decay` with every stage below it."""
    if decay == 1 or not isinstance(model, Tagger):
        return {}
    stages = model.network.stages()
    return {p: decay ** (len(stages) - 1 - depth) for depth, stage in enumerate(stages) for p in stage.parameters()}


def outputs(network: Network, x: Tensor) -> Outputs:
    """What a network says of normalised crops (B, 1, F, T); a function of its own, so that it can be compiled."""
    return network.outputs(x)


def loss_on(loss_of: AnyLoss, found: Outputs, targets: Tensor, weights: Tensor, frame_loss: float = 0.0) -> Tensor:
    """The loss of a network's outputs, in float32: the crop's, and `frame_loss` times that of its strongest frames."""
    if isinstance(loss_of, EmbeddingLoss):
        value: Tensor = loss_of(found.logits.float(), targets, weights, found.embedding.float())
        return value
    value = loss_of(found.logits.float(), targets, weights)
    if found.frames is None or not frame_loss:
        return value
    return value + frame_loss * loss_of(found.frames.amax(dim=2), targets, weights)


def known_weight(weights: Tensor, targets: Tensor) -> Tensor:
    """The weight of all known cells: weights (B,) of clips, targets (B, C) with NaN where they are unknown."""
    return (weights[:, None] * ~targets.isnan()).sum()


@dataclass
class BatchSplit:
    """The number of parts in which a batch goes through the network: doubled each time memory runs out.

    least: fewest crops per part; batch normalisation needs two or more.
    """

    count: int = 1
    least: int = 2

    def halve(self, batch: int) -> None:
        """Halve the parts of a batch of `batch` crops and print so; a `UserError` if they cannot be smaller."""
        count = min(2 * self.count, batch // self.least)
        if count <= self.count:
            size = -(-batch // self.count)
            raise UserError(f"the device's memory does not hold {size} crops; give a shorter crop.seconds")
        self.count = count
        print(f"out of memory: batches of {batch} now go through in {self.count} parts", file=sys.stderr, flush=True)

    def fitted(self, batch: int, attempt: Callable[[], T], undo: Callable[[], None] = lambda: None) -> T:
        """Return `attempt()` for a batch of `batch` crops; try again in more parts each time memory runs out."""
        while True:
            try:
                return attempt()
            except torch.OutOfMemoryError:
                undo()
            self.halve(batch)  # outside `except`, where nothing holds the memory of the failed attempt

    def of(self, x: Tensor) -> tuple[Tensor, ...]:
        """The parts of a batch (B, ...), none of them empty, even if the batch is smaller than earlier ones."""
        return x.tensor_split(min(self.count, len(x)))


class Step:
    """Augment a batch, run forward and backward, update the weights.

    optimizers: the network's, whose rate follows the schedule, and that of a loss with parameters. partners: share of
    crops that are mixed with their partner, where the second half of every batch are partners of the first (else 0).
    """

    def __init__(
        self,
        model: Tagger,
        loss_of: AnyLoss,
        optimizers: list[torch.optim.Optimizer],
        config: ModelConfig,
        partners: float = 0.0,
    ) -> None:
        self.partners = partners
        self.model, self.loss_of, self.optimizers, self.config = model, loss_of, optimizers, config
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.pieces = BatchSplit()
        self.mix = {"values": mix_values, "power": self._mix_powers, "cut": mix_cut}[config.augment.mix]
        compiled = compiles(self.parameters[0].device, config.training)
        self.outputs: Any = torch.compile(outputs) if compiled else outputs

    def __call__(
        self, batch: Tensor, targets: Tensor, weights: Tensor, draws: Tensor, under: Tensor | None = None
    ) -> Tensor:
        """Take raw crops (B, 1, F, T), targets (B, C), weights (B,), draws (K, B); return the loss, on the device.

        under: crops of backgrounds, of the batch's shape.
        """
        training, drawn = self.config.training, Draws(draws)
        if under is not None:
            batch = put_under(batch, under, drawn.background[::3], self.config.augment)
        loss = self._learn(*self._augmented(batch, targets, weights, drawn))
        if training.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, training.grad_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self._forget()
        return loss

    def rate(self, rate: float) -> None:
        """Set the learning rate of the next steps, on the device where it lies there."""
        for group in self.optimizers[0].param_groups:
            own = rate * group.get("share", 1.0)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(own)
            else:
                group["lr"] = own

    def _augmented(self, batch: Tensor, targets: Tensor, weights: Tensor, draws: Draws) -> tuple[Tensor, ...]:
        params = self.config.augment
        if params.speed and self.model.centres is not None:
            batch = play_faster(batch, playing_rate(params, draws.table[1]), self.model.centres)
        normalise = self.model.normalise
        x = augment(normalise(batch), params, normalise.unit, draws, normalise.blank)
        if self.partners:
            return add_partners(x, targets, weights, draws, self.partners, self.mix)
        for _ in range(params.mix_more + 1 if params.mixes else 0):
            x, targets, weights = mixup(x, targets, weights, draws, self.mix, params.mix_labels == "union")
        return x, targets, weights

    def _mix_powers(self, x: Tensor, other: Tensor, share: Tensor) -> Tensor:
        """Mix the powers of normalised crops (spectrograms in dB), or waves at the level of their summed powers."""
        normalise, wave = self.model.normalise, x.shape[2] == 1
        if not wave:
            x, other = normalise.decibels(x), normalise.decibels(other)
        if self.config.augment.mix_align:
            other = louder(other, power_above(x, other))
        return mix_waves(x, other, share) if wave else normalise.again(mix_powers(x, other, share))

    def _learn(self, x: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Forward and backward, in parts where memory runs out; returns the loss."""
        if self.config.training.channels_last:
            x = x.to(memory_format=torch.channels_last)
        return self.pieces.fitted(len(x), lambda: self._learn_in_parts(x, targets, weights), self._forget)

    def _forget(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _learn_in_parts(self, x: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Add up the gradients of a batch's parts, each by its share of the weights, to those of the whole batch.

        Exact for a loss that is a weighted mean over clips or known cells; batch normalisation, and the few losses that
        use the whole batch, see one part only.
        """
        total = torch.zeros((), device=x.device)
        for part, truth, own in zip(*(self.pieces.of(v) for v in (x, targets, weights)), strict=True):
            with autocast(x.device, self.config.training):
                found = self.outputs(self.model.network, part)
                loss = loss_on(self.loss_of, found, truth, own, self.config.training.frame_loss)
            if self.pieces.count > 1:
                loss = loss * known_weight(own, truth) / known_weight(weights, targets).clamp_min(1e-8)
            loss.backward()
            total += loss.detach()
        return total
