"""Training one network on one set of clips: a flat loop over epochs, resumable after each.

Everything random in an epoch comes from a generator seeded by (seed, epoch), so that a run that was killed
and goes on from its last epoch makes the same numbers as one that was not.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tonestack.augment import augment, mixup
from tonestack.checkpoint import Average, History, State
from tonestack.config import ModelConfig, TrainingParams
from tonestack.crops import Clips, random_starts
from tonestack.errors import UserError
from tonestack.files import fingerprint
from tonestack.layers import Tagger
from tonestack.losses import Loss


@dataclass
class Pieces:
    """In how many parts a batch goes through the network: twice as many each time memory has run out."""

    count: int = 1

    def halve(self, batch: int) -> None:
        """Halve the parts of a batch of so many crops, and say so; a part keeps two (batch normalisation)."""
        if batch < 4 * self.count:
            raise UserError(
                f"the device's memory does not hold {batch // self.count} crops; give a shorter crop.seconds"
            )
        self.count *= 2
        print(f"out of memory: batches of {batch} now go through in {self.count} parts", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class TrainingSet:
    """Which clips a network learns from: rows of `clips`, soft targets (n, C) and loss weights (n,)."""

    clips: Clips
    rows: Tensor
    targets: Tensor
    weights: Tensor
    frame_rate: float

    @cached_property
    def frames(self) -> Tensor:
        """Lengths (n,) on the CPU, copied once: asking the device for them in every step would make it wait."""
        return self.clips.frames.cpu()[self.rows]


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from any names and numbers."""
    return int(fingerprint(list(parts)), 16) >> 1


def learning_rate(step: int, steps: int, params: TrainingParams) -> float:
    """Rate of a step: a rise over the warm-up, then a cosine to zero (`onecycle`, `cosine`) or level.

    `onecycle` starts its rise from a twenty-fifth of the rate (Smith & Topin 2018), `cosine` from zero.
    """
    warm = max(1, round(params.warmup * steps))
    if step < warm:
        floor = 0.04 if params.schedule == "onecycle" else 0.0
        return params.lr * (floor + (1 - floor) * (step + 1) / warm)
    if params.schedule == "constant":
        return params.lr
    done = (step - warm) / max(1, steps - warm)
    return params.lr * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(model: torch.nn.Module, params: TrainingParams) -> torch.optim.Optimizer:
    """AdamW or SGD; biases and normalisation scales are not decayed."""
    learnt = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learnt if p.dim() > 1], "weight_decay": params.weight_decay},
        {"params": [p for p in learnt if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if params.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=params.lr, momentum=params.momentum, nesterov=params.momentum > 0)
    return torch.optim.AdamW(groups, lr=params.lr, fused=True)


def epoch_order(targets: Tensor, balanced: float, generator: torch.Generator) -> Tensor:
    """The epoch's clips: all in random order, or drawn so that classes come out even (`balanced` = 1)."""
    if balanced == 0:
        return torch.randperm(len(targets), generator=generator)
    share = targets.sum(0).clamp_min(1e-6) ** -balanced  # (C,)
    return torch.multinomial(targets @ share, len(targets), replacement=True, generator=generator)


def autocast(device: torch.device, params: TrainingParams) -> torch.autocast:
    """bfloat16 where it is asked for or where it pays (`auto`: a GPU, or a CPU with AVX512-BF16 or AMX)."""
    wanted = params.precision == "bfloat16" or (params.precision == "auto" and bfloat16_pays(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def bfloat16_pays(device: torch.device) -> bool:
    """Tell whether the device computes bfloat16 products in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)


def make_batch(data: TrainingSet, picked: Tensor, config: ModelConfig, generator: torch.Generator) -> Tensor:
    """Cut random crops of the picked clips (B,): (B, 1, F, T), with random playing speed if asked for."""
    length = round(config.crop.seconds * data.frame_rate)
    rate = 1 + (torch.rand(len(picked), generator=generator) * 2 - 1) * config.augment.stretch
    rows = data.rows[picked]
    starts = random_starts(data.frames[picked], (length * rate).ceil().long(), generator)
    device = data.clips.features.device
    return data.clips.crops(rows.to(device), starts.to(device), length, config.crop.short, rate.to(device))


def train_step(
    model: Tagger,
    loss_of: Loss,
    batch: Tensor,
    targets: Tensor,
    weights: Tensor,
    config: ModelConfig,
    generator: torch.Generator,
    pieces: Pieces,
) -> Tensor:
    """Forward and backward on one batch; returns the loss, still on the device. Where memory runs out, in parts."""
    device = batch.device
    x = augment(model.normalise(batch), config.augment, model.normalise.std, generator)
    targets, weights = targets.to(device), weights.to(device)
    mixing = config.augment.mixup > 0 and torch.rand(1, generator=generator).item() < config.augment.mixup_share
    if mixing:
        x, targets, weights = mixup(x, targets, weights, config.augment.mixup, generator)
    if config.training.channels_last:
        x = x.to(memory_format=torch.channels_last)
    while True:
        try:
            return _learn(model, loss_of, x, targets, weights, config.training, pieces.count)
        except torch.OutOfMemoryError:
            model.zero_grad(set_to_none=True)
        pieces.halve(len(x))  # out here, where nothing holds the failed attempt's memory any more


def _learn(
    model: Tagger, loss_of: Loss, x: Tensor, targets: Tensor, weights: Tensor, params: TrainingParams, pieces: int
) -> Tensor:
    """Add up the gradients of a batch's parts, each by its share of the weights, to those of the whole batch."""
    loss = torch.zeros((), device=x.device)
    for part, its_targets, its_weights in zip(*(v.tensor_split(pieces) for v in (x, targets, weights)), strict=True):
        with autocast(x.device, params):
            logits = model.network(part)
        value = loss_of(logits.float(), its_targets, its_weights)
        if pieces > 1:
            value = value * its_weights.sum() / weights.sum().clamp_min(1e-8)
        value.backward()
        loss += value.detach()
    return loss


def fit(
    model: Tagger,
    loss_of: Loss,
    data: TrainingSet,
    config: ModelConfig,
    seed: int,
    state: Path | None = None,
    inner_loss: Callable[[Tagger], float] | None = None,
    report: Callable[[dict[str, float]], None] = lambda entry: None,
) -> History:
    """Train `model` in place; at the end it holds the averaged (or best) weights.

    state: file that is written after every epoch, and from which a killed run goes on. inner_loss: loss of
    the averaged model on the inner split; given, training stops early and keeps the best epoch's weights.
    report: called with every epoch's entry, also with those of the epochs before a resume.
    """
    params = config.training
    epochs, steps = params.plan(len(data.rows))
    optimizer = make_optimizer(model, params)
    average = Average(model, params.ema)
    keeper = State(state, model, optimizer, average, fingerprint([config.model_dump(mode="json"), seed, epochs, steps]))
    history = keeper.load()
    pieces = Pieces(history.pieces)
    for entry in history.epochs:
        report(entry)
    for epoch in range(len(history.epochs), epochs):
        if history.best_epoch and epoch - history.best_epoch >= params.patience:
            break
        generator = torch.Generator().manual_seed(seed_of(seed, epoch, "data"))
        torch.manual_seed(seed_of(seed, epoch, "network"))
        order = epoch_order(data.targets, params.balanced, generator)
        losses = torch.zeros(steps, device=data.clips.features.device)
        model.train()
        for step in range(steps):
            picked = order[step * params.batch_size : (step + 1) * params.batch_size]
            rate = learning_rate(epoch * steps + step, epochs * steps, params)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = make_batch(data, picked, config, generator)
            losses[step] = train_step(
                model, loss_of, batch, data.targets[picked], data.weights[picked], config, generator, pieces
            )
            if params.grad_clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), params.grad_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()
        entry = {"epoch": epoch + 1, "loss": check_losses(losses, epoch), "lr": rate}
        if inner_loss is not None:
            entry["inner_loss"] = _judge(model, average, inner_loss)
            keeper.keep_best(history, entry["inner_loss"], epoch + 1)
        history.epochs.append(entry)
        history.pieces = pieces.count
        keeper.save(history)
        report(entry)
    model.load_state_dict(keeper.final(), strict=False)
    return history


def check_losses(losses: Tensor, epoch: int) -> float:
    """Mean loss of an epoch, read from the device once; a loss that is not finite names its step."""
    values = losses.cpu()
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        raise UserError(
            f"the loss became {values[bad[0, 0]].item()} in epoch {epoch + 1}, step {int(bad[0, 0]) + 1}; "
            "lower training.lr, or set training.precision=float32"
        )
    return float(values.mean())


def _judge(model: Tagger, average: Average, inner_loss: Callable[[Tagger], float]) -> float:
    """Inner loss of the averaged weights; the trained ones are put back."""
    trained = {key: value.clone() for key, value in model.state_dict().items()}
    if average.decay:
        model.load_state_dict(average.values, strict=False)
    value = inner_loss(model)
    model.load_state_dict(trained)
    return value
