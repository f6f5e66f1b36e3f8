"""Distillation: a network first learns to say what a pretrained model hears in its clips; labels are not used.

A linear layer on the pooled features is trained towards the clip's embedding, by their cosine, on the crops that the
network is trained on later. It hears the clips that the fold trains on, and test clips where `training.distil.test`
says so: never those of the fold that it is scored on.
"""

from collections.abc import Callable
from dataclasses import replace

from tonestack.base.errors import UserError
from tonestack.features.store import Store
from tonestack.networks.layers import Network, Tagger
from tonestack.networks.losses import weighted_mean
from tonestack.settings.model_config import ModelConfig
from tonestack.training.crops import Clips
from tonestack.training.device import seed_of
from tonestack.training.job import FoldJob
from tonestack.training.loop import TrainingSet, fit

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Projected(Network):
    """A network with a linear layer to the teacher's embedding in place of its classifier, which stays as it is."""

    def __init__(self, network: Network, width: int) -> None:
        super().__init__(network, nn.Identity(), nn.Linear(network.width, width))
        self.below = network.stages()[:-1]

    def embed(self, x: Tensor) -> Tensor:
        """The network's own embedding."""
        embedding: Tensor = self.body.embed(x)  # type: ignore[operator]
        return embedding

    def stages(self) -> list[nn.Module]:
        """The network's own stages, then the linear layer."""
        return [*self.below, self.classifier]


def cosine_distance(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean of 1 - cosine between two tables (B, D), by weights (B,)."""
    return weighted_mean(1 - F.cosine_similarity(logits, targets, dim=1), weights)


def vectors(teacher: Store, clip_ids: list[str]) -> np.ndarray:
    """Embeddings (N, D) of length one, the mean over a clip's windows; NaN rows without audio.

    They are standardised over these clips: raw embeddings of any two clips point much the same way.
    """
    offsets, frames = teacher.rows(clip_ids)
    table = np.full((len(clip_ids), teacher.width), np.nan)
    for row in np.flatnonzero(frames):
        table[row] = teacher.features[offsets[row] : offsets[row] + frames[row]].mean(axis=0, dtype=np.float64)
    if frames.any():
        spread = table[frames > 0].std(axis=0)
        table = (table - table[frames > 0].mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0)
    made: np.ndarray = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return made.astype(np.float32)


def lesson(job: FoldJob, data: TrainingSet, store: Store, device: torch.device) -> TrainingSet:
    """The clips that the network hears, their embeddings (n, D) as targets; `data`: what it is then trained on."""
    distil, known = job.experiment.config.training.distil, [*job.labels.clip_ids, *job.backgrounds]
    ids = [*known, *(name for name in job.heard if name not in set(job.labels.clip_ids))]
    clips = Clips.load(store, ids, device)
    rows = torch.cat([data.rows, torch.arange(len(known), len(ids))])
    rows = rows[clips.frames.cpu()[rows] > 0]
    wanted = torch.from_numpy(
        vectors(Store.open(job.cache, distil.teacher, job.audio), [ids[row] for row in rows.tolist()])
    )
    usable = wanted.isfinite().all(dim=1)
    if usable.sum() < 2:
        raise UserError(f"{job.name}: training.distil: fewer than two of its clips have an embedding")
    weights = torch.ones(int(usable.sum()))
    return replace(data, clips=clips, rows=rows[usable], targets=wanted[usable], weights=weights)


def learn(job: FoldJob, model: Tagger, heard: TrainingSet, report: Callable[[dict[str, float]], None]) -> int:
    """Train a fold's network, in place, towards the embeddings of a `lesson`; return the number of epochs.

    A killed run goes on from `job.distil_path`.
    """
    torch.manual_seed(seed_of(job.experiment.seed, job.fold, "projection"))
    student = Tagger(model.normalise, Projected(model.network, heard.targets.shape[1]), model.centres)
    seed = seed_of(job.experiment.seed, job.fold, "distil")

    def say(entry: dict[str, float]) -> None:
        report({"epoch": entry["epoch"], "distance": entry["loss"], "lr": entry["lr"]})

    student.to(heard.clips.device)
    settings = towards(job.experiment.config)
    history = fit(student, cosine_distance, heard, settings, seed, job.distil_path, report=say, inputs=job.inputs)
    return len(history.epochs)


def towards(settings: ModelConfig) -> ModelConfig:
    """The settings of these epochs: those of the training, but for what is about labels."""
    own, augment = settings.training.distil, settings.augment
    changed = {"epochs": own.epochs, "lr": own.lr, "min_steps": 0, "balanced": 0.0, "frame_loss": 0.0}
    return settings.model_copy(
        update={
            "training": settings.training.model_copy(update=changed),
            "augment": augment.model_copy(update={"mix_labels": "blend"}),
        }
    )
