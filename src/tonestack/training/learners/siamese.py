"""Judges: trained on episodes, resumable after every epoch; a query is recognised by the vote of random crops."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
from tonestack.config import layers
from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.store import Store
from tonestack.networks import weights
from tonestack.networks.layers import count_parameters
from tonestack.networks.losses import Loss
from tonestack.networks.models import siamese
from tonestack.settings.model_config import ModelConfig
from tonestack.tables import votes
from tonestack.training.checkpoint import Average, History, State
from tonestack.training.crops import Clips, random_starts
from tonestack.training.device import autocast, choose_device, seed_of
from tonestack.training.job import FoldJob
from tonestack.training.loop import check_losses, learning_rate
from tonestack.training.step import make_optimizer
from tonestack.training.voices.episodes import Batch, Voices, cut, draw_batch, join_short
from tonestack.training.voices.hearing import Hearing, levels

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Ear:
    """A Judge with what it hears through, on one device."""

    model: siamese.Judge
    hearing: Hearing
    settings: ModelConfig
    params: siamese.Params
    device: torch.device

    @classmethod
    def build(cls, settings: ModelConfig, device: torch.device) -> "Ear":
        """Build an untrained one; crops must have the length that the head is made for."""
        params: Any = layers.part_params("models", settings.network, "network")
        spec = settings.frontend
        frontend_params: Any = layers.part_params("frontends", spec, "frontend")
        frontend = parts.find("frontends", spec["name"]).Frontend(frontend_params)
        waves = frontend.width == 1
        if waves != (params.tower == "conv1d"):
            raise UserError(f"network.tower={params.tower} does not go with frontend.name={spec['name']}")
        if round(settings.crop.seconds * frontend.frame_rate) != params.length:
            frames = round(settings.crop.seconds * frontend.frame_rate)
            raise UserError(f"crop.seconds={settings.crop.seconds:g} is {frames} frames: give network.frames={frames}")
        centres = None if waves else sg.mel_centres(frontend_params)
        model = siamese.build(params, frontend.width, 0)
        if settings.training.channels_last and not waves:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        hearing = Hearing(params.hearing, params.episodes.speeds, centres)
        return cls(model.to(device), hearing.to(device), settings, params, device)

    def embed(self, x: Tensor) -> Tensor:
        """Heard crops (B, 1, F, T) to embeddings (B, D)."""
        if self.settings.training.channels_last and not self.hearing.waves:
            x = x.to(memory_format=torch.channels_last)
        return self.model.tower(x)


@dataclass(frozen=True)
class Speakers:
    """Clips with a voice each, and their levels."""

    voices: Voices
    level: Tensor

    @classmethod
    def of(cls, clips: Clips, voice: np.ndarray, length: int) -> "Speakers":
        """voice: (N,) 0..V-1. length: frames of a crop; a voice's clips that are shorter are joined."""
        clips, of = join_short(clips, torch.from_numpy(voice), length)
        return cls(Voices.of(clips, of), levels(clips))


# --------------------------------------------------------------------------------------------------------- training


def learn(
    ear: Ear, loss_of: Loss, speakers: Speakers, seed: int, state: Path | None = None, report: Any = lambda entry: None
) -> History:
    """Train in place; at the end the Judge holds the averaged weights.

    state: file that is written after every epoch, and from which a killed run goes on. report: called with every
    epoch's entry, also with those of the epochs before a resume.
    """
    settings, training, steps = ear.settings, ear.settings.training, ear.params.episodes.steps
    optimizer = make_optimizer(ear.model, training)
    average = Average(ear.model, training.ema)
    keeper = State(state, ear.model, optimizer, average, fingerprint([settings.model_dump(mode="json"), seed]))
    history = keeper.load()
    for entry in history.epochs:
        report(entry)
    for epoch in range(len(history.epochs), training.epochs):
        generator = torch.Generator().manual_seed(seed_of(seed, epoch, "data"))
        torch.manual_seed(seed_of(seed, epoch, "network"))
        found = torch.zeros(steps, 2, device=ear.device)
        ear.model.train()
        for step in range(steps):
            rate = learning_rate(epoch * steps + step, training.epochs * steps, training)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = draw_batch(len(speakers.voices), training.batch_size, ear.params.episodes, generator)
            found[step] = learn_step(ear, loss_of, speakers, batch, generator)
            if training.grad_clip:
                torch.nn.utils.clip_grad_norm_(ear.model.parameters(), training.grad_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()
        loss = check_losses(found[:, 0], epoch)
        entry = {"epoch": epoch + 1, "loss": loss, "lr": rate, "right": float(found[:, 1].mean())}
        history.epochs.append(entry)
        keeper.save(history)
        report(entry)
    ear.model.load_state_dict(keeper.final(), strict=False)
    return history


def learn_step(ear: Ear, loss_of: Loss, speakers: Speakers, batch: Batch, generator: torch.Generator) -> Tensor:
    """Forward and backward on one batch; returns (2,): the loss and the share of episodes won, on the device."""
    kinds = torch.cat([batch.samples, batch.targets])
    params, episodes = ear.params.episodes, len(batch.truth)
    crops, rows, speed = cut(speakers.voices, kinds, ear.params.length, params, generator)
    colours = ear.hearing.colours(len(batch.samples), crops.shape[2], generator)
    mine = torch.cat([torch.arange(len(batch.samples)), batch.positions])
    x = ear.hearing(crops, speakers.level[rows.to(ear.device)], speed, colours[mine], generator)
    with autocast(ear.device, ear.settings.training):
        embedding = ear.embed(x)
        samples = ear.model.sample(embedding[: len(batch.samples)])
        targets = ear.model.target(embedding[len(batch.samples) :])
        if params.shared:
            logits = ear.model.compare(samples, targets[:, None])  # (B, N)
        else:
            logits = ear.model.compare(samples, targets).view(episodes, -1)
    truth = batch.truth.to(ear.device)
    one_hot = torch.nn.functional.one_hot(truth, logits.shape[1]).float()
    loss = loss_of(logits.float(), one_hot, torch.ones(episodes, device=ear.device))
    loss.backward()
    return torch.stack([loss.detach(), (logits.argmax(1) == truth).float().mean()])


# ------------------------------------------------------------------------------------------------------------ votes


@torch.inference_mode()
def references(ear: Ear, speakers: Speakers, seed: int) -> Tensor:
    """Random crops of every voice, their towers computed once: their halves of the comparison (V, crops, H)."""
    count = ear.params.vote.crops
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(len(speakers.voices)).repeat_interleave(count)
    span = torch.full((len(kinds),), ear.params.length)
    rows, starts = speakers.voices.draw(kinds, span, generator)
    halves = ear.model.sample(_embedded(ear, speakers.voices.clips, speakers.level, rows, starts))
    return halves.view(len(speakers.voices), count, -1)


@torch.inference_mode()
def vote(ear: Ear, pool: Tensor, clips: Clips, level: Tensor, row: int, seed: int) -> np.ndarray:
    """Votes (V,) for each voice of `pool` (V, crops, H) by random crops of one clip: one vote a crop."""
    params = ear.params.vote
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((params.crops,), row)
    span = torch.full((params.crops,), ear.params.length)
    starts = random_starts(clips.frames.cpu()[rows], span, torch.rand(len(rows), generator=generator))
    halves = ear.model.target(_embedded(ear, clips, level, rows, starts))
    logits = sum(ear.model.compare(pool.roll(shift, 1), halves) for shift in range(params.references))  # (V, crops)
    return torch.bincount(logits.argmax(0).cpu(), minlength=len(pool)).numpy()  # type: ignore[union-attr]


def _embedded(ear: Ear, clips: Clips, level: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """Embeddings (B, D) of crops, in batches."""
    ear.model.eval()
    found = []
    for part_rows, part_starts in zip(
        rows.split(ear.params.vote.batch_size), starts.split(ear.params.vote.batch_size), strict=True
    ):
        on_device = part_rows.to(ear.device)
        rate = torch.ones(len(on_device), device=ear.device)
        x = clips.crops(on_device, part_starts.to(ear.device), ear.params.length, "tile", rate)
        with autocast(ear.device, ear.settings.training):
            found.append(ear.embed(ear.hearing(x, level[on_device])).float())
    return torch.cat(found)


# ---------------------------------------------------------------------------------------------------------- learner


class FittedJudge:
    """A trained Judge with the store whose clips it compares."""

    def __init__(self, job: FoldJob, store: Store, ear: Ear, epochs: int) -> None:
        self.job, self.store, self.ear, self.epochs = job, store, ear, epochs

    @property
    def params(self) -> int:
        """Number of learnable parameters."""
        return count_parameters(self.ear.model)

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return {key: value.contiguous() for key, value in self.ear.model.state_dict().items()}

    def log_probabilities(self, clip_ids: list[str]) -> np.ndarray:
        """Log of the vote shares (N, C) against crops of the clips it has learnt from; NaN rows without audio."""
        pool = references(self.ear, speakers_of(self.job, self.store, self.ear.device), self.seed("references"))
        clips = Clips.load(self.store, clip_ids, self.ear.device)
        level, frames = levels(clips), clips.frames.cpu().numpy()
        logs = np.full((len(clip_ids), len(self.job.classes)), np.nan)
        for row in np.flatnonzero(frames > 0):
            counted = vote(self.ear, pool, clips, level, int(row), self.seed(clip_ids[row]))
            logs[row] = np.log(votes.shares(counted[None])[0])
        return logs

    def seed(self, what: str) -> int:
        """Seed of one clip's crops: it does not depend on which other clips are recognised."""
        return seed_of(self.job.experiment.seed, self.job.fold, "vote", what)

    def done(self) -> None:
        """Remove the state from which a killed run would have gone on."""
        self.job.state_path.unlink(missing_ok=True)


def fit(job: FoldJob, store: Store) -> FittedJudge:
    """Build the fold's Judge from its seed and train it on episodes."""
    device = choose_device(job.device)
    settings = job.experiment.config
    torch.manual_seed(seed_of(job.experiment.seed, job.fold, "weights"))
    ear = Ear.build(settings, device)
    if job.initial is not None:
        weights.put(ear.model, weights.read_fold(job.initial, job.headings), job.initial)
    loss = parts.find("losses", settings.loss["name"]).build(layers.part_params("losses", settings.loss, "loss"))
    seed = seed_of(job.experiment.seed, job.fold, "training")
    history = learn(ear, loss, speakers_of(job, store, device), seed, job.state_path, job.history_writer())
    return FittedJudge(job, store, ear, len(history.epochs))


def speakers_of(job: FoldJob, store: Store, device: torch.device) -> Speakers:
    """The clips that a fold's Judge learns from, which are also what queries are compared with."""
    clips = Clips.load(store, job.labels.clip_ids, device)
    params: Any = layers.part_params("models", job.experiment.config.network, "network")
    return Speakers.of(clips, job.labels.targets.argmax(axis=1), params.length)
