"""Siamese networks: trained on episodes, resumable after every epoch; random crops vote on the voice of a query."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint
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
from tonestack.training.voices.voice_input import VoiceInput, levels

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SiameseNetwork:
    """A network with its input chain, on one device."""

    model: siamese.Siamese
    voice_input: VoiceInput
    settings: ModelConfig
    params: siamese.Params
    device: torch.device

    @classmethod
    def build(cls, settings: ModelConfig, device: torch.device) -> "SiameseNetwork":
        """Build an untrained one; crops must have the length that the head is made for."""
        params: Any = parts.part_params("models", settings.network, "network")
        spec = settings.frontend
        frontend_params: Any = parts.part_params("frontends", spec, "frontend")
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
        voice_input = VoiceInput(params.hearing, params.episodes.speeds, centres)
        return cls(model.to(device), voice_input.to(device), settings, params, device)

    def embed(self, x: Tensor) -> Tensor:
        """Prepared crops (B, 1, F, T) to embeddings (B, D)."""
        if self.settings.training.channels_last and not self.voice_input.waves:
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
    net: SiameseNetwork,
    loss_of: Loss,
    speakers: Speakers,
    seed: int,
    state: Path | None = None,
    report: Any = lambda entry: None,
    inputs: dict[str, str] | None = None,
) -> History:
    """Train in place; at the end the network holds the averaged weights.

    state: file that is written after every epoch, and from which a killed run goes on, if it had the same settings and
    the same `inputs` (fingerprints of the data). report: called with every epoch's entry, also with those of the
    epochs before a resume.
    """
    settings, training, steps = net.settings, net.settings.training, net.params.episodes.steps
    optimizer = make_optimizer(net.model, training)
    average = Average(net.model, training.ema)
    keeper = State(state, net.model, optimizer, average, fingerprint([settings.model_dump(mode="json"), seed, inputs]))
    history = keeper.load()
    for entry in history.epochs:
        report(entry)
    for epoch in range(len(history.epochs), training.epochs):
        generator = torch.Generator().manual_seed(seed_of(seed, epoch, "data"))
        torch.manual_seed(seed_of(seed, epoch, "network"))
        found = torch.zeros(steps, 2, device=net.device)
        net.model.train()
        for step in range(steps):
            rate = learning_rate(epoch * steps + step, training.epochs * steps, training, epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = draw_batch(len(speakers.voices), training.batch_size, net.params.episodes, generator)
            found[step] = learn_step(net, loss_of, speakers, batch, generator)
            if training.grad_clip:
                torch.nn.utils.clip_grad_norm_(net.model.parameters(), training.grad_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()
        loss = check_losses(found[:, 0], epoch)
        entry = {"epoch": epoch + 1, "loss": loss, "lr": rate, "right": float(found[:, 1].mean())}
        history.epochs.append(entry)
        keeper.save(history)
        report(entry)
    net.model.load_state_dict(keeper.final(), strict=False)
    return history


def learn_step(
    net: SiameseNetwork, loss_of: Loss, speakers: Speakers, batch: Batch, generator: torch.Generator
) -> Tensor:
    """Forward and backward on one batch; returns (2,): the loss and the share of episodes won, on the device."""
    kinds = torch.cat([batch.samples, batch.targets])
    params, episodes = net.params.episodes, len(batch.truth)
    crops, rows, speed = cut(speakers.voices, kinds, net.params.length, params, generator)
    colours = net.voice_input.colours(len(batch.samples), crops.shape[2], generator)
    mine = torch.cat([torch.arange(len(batch.samples)), batch.positions])
    x = net.voice_input(crops, speakers.level[rows.to(net.device)], speed, colours[mine], generator)
    with autocast(net.device, net.settings.training):
        embedding = net.embed(x)
        samples = net.model.sample(embedding[: len(batch.samples)])
        targets = net.model.target(embedding[len(batch.samples) :])
        if params.shared:
            logits = net.model.compare(samples, targets[:, None])  # (B, N)
        else:
            logits = net.model.compare(samples, targets).view(episodes, -1)
    truth = batch.truth.to(net.device)
    one_hot = torch.nn.functional.one_hot(truth, logits.shape[1]).float()
    loss = loss_of(logits.float(), one_hot, torch.ones(episodes, device=net.device))
    loss.backward()
    return torch.stack([loss.detach(), (logits.argmax(1) == truth).float().mean()])


# ------------------------------------------------------------------------------------------------------------ votes


@torch.inference_mode()
def references(net: SiameseNetwork, speakers: Speakers, seed: int) -> Tensor:
    """Random crops of every voice, their towers computed once: their halves of the comparison (V, crops, H)."""
    count = net.params.vote.crops
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(len(speakers.voices)).repeat_interleave(count)
    span = torch.full((len(kinds),), net.params.length)
    rows, starts = speakers.voices.draw(kinds, span, generator)
    halves = net.model.sample(_embedded(net, speakers.voices.clips, speakers.level, rows, starts))
    return halves.view(len(speakers.voices), count, -1)


@torch.inference_mode()
def vote(net: SiameseNetwork, pool: Tensor, clips: Clips, level: Tensor, row: int, seed: int) -> np.ndarray:
    """Votes (V,) for each voice of `pool` (V, crops, H) by random crops of one clip: one vote a crop."""
    params = net.params.vote
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((params.crops,), row)
    span = torch.full((params.crops,), net.params.length)
    starts = random_starts(clips.frames.cpu()[rows], span, torch.rand(len(rows), generator=generator))
    halves = net.model.target(_embedded(net, clips, level, rows, starts))
    logits = sum(net.model.compare(pool.roll(shift, 1), halves) for shift in range(params.references))  # (V, crops)
    return torch.bincount(logits.argmax(0).cpu(), minlength=len(pool)).numpy()  # type: ignore[union-attr]


def _embedded(net: SiameseNetwork, clips: Clips, level: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """Embeddings (B, D) of crops, in batches."""
    net.model.eval()
    found = []
    for part_rows, part_starts in zip(
        rows.split(net.params.vote.batch_size), starts.split(net.params.vote.batch_size), strict=True
    ):
        on_device = part_rows.to(net.device)
        rate = torch.ones(len(on_device), device=net.device)
        x = clips.crops(on_device, part_starts.to(net.device), net.params.length, "tile", rate)
        with autocast(net.device, net.settings.training):
            found.append(net.embed(net.voice_input(x, level[on_device])).float())
    return torch.cat(found)


# ---------------------------------------------------------------------------------------------------------- learner


class FittedSiamese:
    """A trained network with the store whose clips it compares."""

    def __init__(self, job: FoldJob, store: Store, net: SiameseNetwork, epochs: int) -> None:
        self.job, self.store, self.net, self.epochs = job, store, net, epochs

    @property
    def params(self) -> int:
        """Number of learnable parameters."""
        return count_parameters(self.net.model)

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return {key: value.contiguous() for key, value in self.net.model.state_dict().items()}

    def log_probabilities(self, clip_ids: list[str]) -> np.ndarray:
        """Log of the vote shares (N, C) against crops of the clips it has learnt from; NaN rows without audio."""
        pool = references(self.net, speakers_of(self.job, self.store, self.net.device), self.seed("references"))
        clips = Clips.load(self.store, clip_ids, self.net.device)
        level, frames = levels(clips), clips.frames.cpu().numpy()
        logs = np.full((len(clip_ids), len(self.job.classes)), np.nan)
        for row in np.flatnonzero(frames > 0):
            counted = vote(self.net, pool, clips, level, int(row), self.seed(clip_ids[row]))
            logs[row] = np.log(votes.shares(counted[None])[0])
        return logs

    def seed(self, what: str) -> int:
        """Seed of one clip's crops: it does not depend on which other clips are recognised."""
        return seed_of(self.job.experiment.seed, self.job.fold, "vote", what)

    def done(self) -> None:
        """Remove the state from which a killed run would have gone on."""
        self.job.state_path.unlink(missing_ok=True)


def fit(job: FoldJob, store: Store) -> FittedSiamese:
    """Build the fold's network from its seed and train it on episodes."""
    device = choose_device(job.device)
    settings = job.experiment.config
    torch.manual_seed(seed_of(job.experiment.seed, job.fold, "weights"))
    net = SiameseNetwork.build(settings, device)
    if job.initial is not None:
        weights.put(net.model, weights.read_fold(job.initial, job.headings), job.initial)
    loss = parts.find("losses", settings.loss["name"]).build(parts.part_params("losses", settings.loss, "loss"))
    seed = seed_of(job.experiment.seed, job.fold, "training")
    history = learn(net, loss, speakers_of(job, store, device), seed, job.state_path, job.history_writer(), job.inputs)
    return FittedSiamese(job, store, net, len(history.epochs))


def speakers_of(job: FoldJob, store: Store, device: torch.device) -> Speakers:
    """The clips that a fold's network learns from, which are also what queries are compared with."""
    clips = Clips.load(store, job.labels.clip_ids, device)
    params: Any = parts.part_params("models", job.experiment.config.network, "network")
    return Speakers.of(clips, job.labels.targets.argmax(axis=1), params.length)
