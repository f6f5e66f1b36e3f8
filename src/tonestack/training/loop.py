"""Train one network on one set of clips: a flat loop over epochs, resumable after each.

All random numbers of an epoch come from a generator seeded by (seed, epoch), so that a run that was killed and goes on
from its last epoch gives the same results as one that was not.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
from tonestack.networks.layers import Tagger
from tonestack.networks.losses import AnyLoss, EmbeddingLoss
from tonestack.settings.model_config import ModelConfig, TrainingParams
from tonestack.training.augment import OF_BACKGROUNDS, draw, playing_rate
from tonestack.training.checkpoint import Average, History, LearntLoss, State
from tonestack.training.crops import Clips, Place, random_starts, sent
from tonestack.training.cuda_graph import RecordedStep
from tonestack.training.device import records, seed_of
from tonestack.training.step import Step, make_optimizer

import torch
from torch import Tensor

NO_ROWS = torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True)
class TrainingSet:
    """The clips that a network is trained on: rows of `clips`, soft targets (n, C) and loss weights (n,).

    A target that nobody knows is NaN. backgrounds: rows of recordings without labels, to be mixed under crops.
    partners: the last rows are not trained on by themselves, but mixed into others (pieces of a pool); how many.
    share: of crops that are mixed with one. Partners are drawn by their weights.
    """

    clips: Clips
    rows: Tensor
    targets: Tensor
    weights: Tensor
    frame_rate: float
    backgrounds: Tensor = NO_ROWS
    partners: int = 0
    share: float = 0.0

    def __len__(self) -> int:
        """Number of clips that are trained on by themselves."""
        return len(self.rows) - self.partners

    @cached_property
    def frames(self) -> Tensor:
        """Lengths (n,) on the CPU, copied once: asking the device for them in every step would make it wait."""
        return self.clips.frames.cpu()[self.rows]

    @cached_property
    def truth(self) -> tuple[Tensor, Tensor]:
        """Targets and weights beside the features, copied once."""
        return self.targets.to(self.clips.home), self.weights.to(self.clips.home)


def learning_rate(step: int, steps: int, params: TrainingParams, epoch: int = 0) -> float:
    """Rate of a step: a rise over the warm-up, then a cosine to zero (`onecycle`, `cosine`), level, or in steps.

    `onecycle` starts its rise from a twenty-fifth of the rate (Smith & Topin 2018), the others from zero.
    """
    warm = max(1, round(params.warmup * steps))
    if step < warm:
        floor = 0.04 if params.schedule == "onecycle" else 0.0
        return params.lr * (floor + (1 - floor) * (step + 1) / warm)
    if params.schedule == "constant":
        return params.lr
    if params.schedule == "step":
        return float(params.lr * params.gamma ** (epoch // params.step_epochs))
    done = (step - warm) / max(1, steps - warm)
    return params.lr * 0.5 * (1 + math.cos(math.pi * done))


def epoch_order(targets: Tensor, balanced: float, generator: torch.Generator) -> Tensor:
    """The epoch's clips: all in random order, or drawn so that classes come out even (`balanced` = 1).

    A soft target (N, C) counts as its likeliest class, and as every class from a half on. Shares of a class that is
    nobody's likeliest would else be blown up until the few clips that have them are drawn again and again. Clips
    without a label are one more class; unknown targets (NaN) are none.
    """
    if balanced == 0:
        return torch.randperm(len(targets), generator=generator)
    targets = targets.nan_to_num(0.0)
    most = targets.amax(dim=1, keepdim=True)
    labels = torch.cat([(targets >= 0.5) | ((targets == most) & (most > 0)), most <= 0], dim=1).to(targets.dtype)
    share = labels.sum(0).clamp_min(1e-6) ** -balanced  # (C + 1,)
    return torch.multinomial(labels @ share, len(targets), replacement=True, generator=generator)


def with_partners(order: Tensor, data: TrainingSet, generator: torch.Generator) -> Tensor:
    """The epoch's rows (steps, B) and behind every batch, where the set has partners, one for each: (steps, 2 B)."""
    if not data.partners:
        return order
    drawn = torch.multinomial(data.weights[len(data) :], order.numel(), replacement=True, generator=generator)
    return torch.cat([order, drawn.view_as(order) + len(data)], dim=1)


def epoch_draws(
    data: TrainingSet, config: ModelConfig, steps: int, batch: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The rows of an epoch's batches (steps, B), partners included, and their random numbers (steps, K, B)."""
    order = epoch_order(data.targets[: len(data)], config.training.balanced, generator)[: steps * batch]
    order = with_partners(order.view(steps, batch), data, generator)
    return order, draw(config.augment, steps, order.shape[1], generator, more=1 if data.partners else 0)


def epoch_places(data: TrainingSet, order: Tensor, draws: Tensor, config: ModelConfig) -> Place:
    """Where the crops of an epoch's batches lie, with random playing speed if asked for: (steps, B) each.

    order: (steps, B) rows of `data`; draws: (steps, K, B).
    """
    rate = playing_rate(config.augment, draws[:, 1])
    span = (config.crop_frames(data.frame_rate) * rate).ceil().long()
    starts = random_starts(data.frames[order], span, draws[:, 2], config.augment.roll and config.crop.short == "tile")
    return data.rows[order], starts, rate


def background_places(data: TrainingSet, draws: Tensor, config: ModelConfig) -> Place:
    """Where the crops of an epoch's backgrounds lie: (steps, B) each; draws: (steps, K, B)."""
    count = len(data.backgrounds)
    _, which, first, _ = draws[:, -OF_BACKGROUNDS:].unbind(dim=1)
    rows = data.backgrounds[(which * count).long().clamp_max(count - 1)]
    frames = data.clips.frames.cpu()[rows]
    starts = random_starts(frames, torch.full_like(frames, config.crop_frames(data.frame_rate)), first)
    return rows, starts, torch.ones_like(first)


def run_epoch(
    step: Step | RecordedStep, data: TrainingSet, order: Tensor, draws: Tensor, config: ModelConfig, rates: list[float]
) -> Iterator[Tensor]:
    """Make an epoch's steps and yield each one's loss, still on the device.

    All that the steps need is copied to the device before the first one, or, from a store that does not fit there,
    ahead of time and from pinned memory: no copy makes the host wait.
    """
    clips = data.clips
    batches = [_crops(data, epoch_places(data, order, draws, config), config.crop.short, config)]
    if config.augment.background and len(data.backgrounds):
        batches.append(_crops(data, background_places(data, draws, config), "tile", config))
    order, draws = order.to(clips.home), draws.to(clips.device)
    for index, (rate, batch, *under) in enumerate(zip(rates, *batches, strict=True)):
        step.rate(rate)
        picked = order[index]
        targets, weights = (sent(value[picked], clips.device) for value in data.truth)
        yield step(batch, targets, weights, draws[index], *under)


def _crops(data: TrainingSet, places: Place, short: Literal["tile", "pad"], config: ModelConfig) -> Iterator[Tensor]:
    on_home = [value.to(data.clips.home) for value in places]
    return data.clips.stream(zip(*on_home, strict=True), config.crop_frames(data.frame_rate), short)


def fit(
    model: Tagger,
    loss_of: AnyLoss,
    data: TrainingSet,
    config: ModelConfig,
    seed: int,
    state: Path | None = None,
    inner_loss: Callable[[Tagger], float] | None = None,
    report: Callable[[dict[str, float]], None] = lambda entry: None,
    inputs: dict[str, str] | None = None,
) -> History:
    """Train `model` in place; at the end it holds the averaged (or best) weights.

    state: file that is written after every epoch, and from which a killed run of the same settings and `inputs`
    (fingerprints of the data) goes on. inner_loss: loss of the averaged model on the inner split; given, training stops
    early and keeps the best epoch's weights. report: called with every epoch's entry, after a resume of all epochs.
    """
    params = config.training
    epochs, steps = params.plan(len(data))
    batch = min(params.batch_size, len(data))
    optimizer = make_optimizer(model, params)
    average = Average(model, params.ema)
    learnt_loss = LearntLoss(loss_of, loss_of.optimizer()) if isinstance(loss_of, EmbeddingLoss) else None
    key = fingerprint([config.model_dump(mode="json"), seed, epochs, steps, inputs])
    keeper = State(state, model, optimizer, average, key, learnt_loss)
    history = keeper.load()
    step = make_step(model, loss_of, [optimizer, *([learnt_loss.optimizer] if learnt_loss else [])], config, data.share)
    step.pieces.count = history.pieces
    for entry in history.epochs:
        report(entry)
    for epoch in range(len(history.epochs), epochs):
        if history.best_epoch and epoch - history.best_epoch >= params.patience:
            break
        generator = torch.Generator().manual_seed(seed_of(seed, epoch, "data"))
        torch.manual_seed(seed_of(seed, epoch, "network"))
        order, draws = epoch_draws(data, config, steps, batch, generator)
        rates = [learning_rate(epoch * steps + i, epochs * steps, params, epoch) for i in range(steps)]
        losses = torch.zeros(steps, device=data.clips.device)
        model.train()
        for index, loss in enumerate(run_epoch(step, data, order, draws, config, rates)):
            losses[index] = loss
            average.update()
        entry = {"epoch": epoch + 1, "loss": check_losses(losses, epoch), "lr": rates[-1]}
        if inner_loss is not None:
            entry["inner_loss"] = _loss_of_average(model, average, inner_loss)
            keeper.keep_best(history, entry["inner_loss"], epoch + 1)
        history.epochs.append(entry)
        history.pieces = step.pieces.count
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


def _loss_of_average(model: Tagger, average: Average, inner_loss: Callable[[Tagger], float]) -> float:
    """Inner loss of the averaged weights; the trained weights are put back."""
    trained = {key: value.clone() for key, value in model.state_dict().items()}
    if average.decay:
        model.load_state_dict(average.values, strict=False)
    value = inner_loss(model)
    model.load_state_dict(trained)
    return value


def make_step(
    model: Tagger,
    loss_of: AnyLoss,
    optimizers: list[torch.optim.Optimizer],
    config: ModelConfig,
    partners: float = 0.0,
) -> Step | RecordedStep:
    """Return the step that `training.compile` asks for."""
    step = Step(model, loss_of, optimizers, config, partners)
    if not records(step.parameters[0].device, config.training):
        return step
    if len(optimizers) > 1:
        raise UserError("training.compile=graph: a loss with an optimiser of its own cannot be recorded; leave it out")
    return RecordedStep(step)
