"""Networks: trained by gradient on random crops, resumable after every epoch, used with test-time augmentation."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tonestack import config, parts, weights
from tonestack.crops import Clips
from tonestack.files import write_text
from tonestack.inference import predict
from tonestack.jobs import FoldJob
from tonestack.layers import Normalise, Tagger, count_parameters
from tonestack.losses import Loss
from tonestack.store import Store
from tonestack.training import TrainingSet, seed_of
from tonestack.training import fit as train


class FittedNetwork:
    """A trained network with the store that it reads."""

    def __init__(self, job: FoldJob, store: Store, model: Tagger, device: torch.device, epochs: int) -> None:
        self.job, self.store, self.model, self.device, self.epochs = job, store, model, device, epochs

    @property
    def params(self) -> int:
        """Number of learnable parameters."""
        return count_parameters(self.model)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and the input normalisation."""
        return {key: value.contiguous() for key, value in self.model.state_dict().items()}

    def log_probabilities(self, clip_ids: list[str]) -> np.ndarray:
        """Mean over test-time crops (N, C); NaN rows for clips without audio."""
        task = parts.find("tasks", self.job.task)
        clips = Clips.load(self.store, clip_ids, self.device)
        return predict(self.model, clips, self.job.experiment.config, self.store.frame_rate, task.log_probabilities)

    def done(self) -> None:
        """Remove the state from which a killed run would have gone on."""
        _state_path(self.job).unlink(missing_ok=True)


def fit(job: FoldJob, store: Store) -> FittedNetwork:
    """Build the fold's network from its seed and train it."""
    device = choose_device(job.device)
    settings = job.experiment.config
    torch.manual_seed(seed_of(job.experiment.seed, job.fold, "weights"))
    model = build_model(settings, store, len(job.classes)).to(device)
    if job.initial is not None:
        weights.put(model, weights.read_fold(job.initial, job.classes), job.initial)
    if settings.training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    history = _train(job, model, store, device)
    return FittedNetwork(job, store, model, device, len(history))


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one; a device that is not there becomes the CPU, said once."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        print(f"device={name}: no GPU is available here; using the CPU")
        return torch.device("cpu")
    return torch.device(name)


def build_model(settings: config.ModelConfig, store: Store, n_classes: int) -> Tagger:
    """Build the network behind its input normalisation (waveforms are only scaled)."""
    module = parts.find("models", settings.network["name"])
    params = config.part_params("models", settings.network, "network")
    normalise = (
        Normalise(torch.zeros(1), torch.ones(1))
        if store.width == 1
        else Normalise(torch.from_numpy(store.mean), torch.from_numpy(store.std))
    )
    return Tagger(normalise, module.build(params, store.width, n_classes))


def load(job: FoldJob, store: Store, device: torch.device) -> Tagger:
    """The network of a finished fold, as it was saved."""
    model = build_model(job.experiment.config, store, len(job.classes))
    path = job.folder / f"fold{job.fold}.safetensors"
    weights.put(model, weights.read_fold(path, job.classes), path)
    return model.to(device)


class _Embedder(Tagger):
    """A network up to its penultimate layer."""

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


def embeddings(job: FoldJob, store: Store, clip_ids: list[str]) -> np.ndarray:
    """Penultimate layer (N, D) of a finished fold's network, mean over test-time crops; NaN rows without audio."""
    device = choose_device(job.device)
    model = load(job, store, device)
    settings = job.experiment.config
    plain = settings.inference.model_copy(update={"mean": "geometric", "lengths": (1.0,)})  # the plain mean of outputs
    embedder = _Embedder(model.normalise, model.network)
    clips = Clips.load(store, clip_ids, device)
    settings = settings.model_copy(update={"inference": plain})
    return predict(embedder, clips, settings, store.frame_rate, lambda x: x).astype(np.float32)


def _state_path(job: FoldJob) -> Path:
    return job.folder / f"fold{job.fold}.state.safetensors"


def _train(job: FoldJob, model: Tagger, store: Store, device: torch.device) -> list[dict[str, float]]:
    settings = job.experiment.config
    clips = Clips.load(store, job.labels.clip_ids, device)
    usable = torch.as_tensor(np.flatnonzero(clips.frames.cpu().numpy() > 0))
    data = TrainingSet(
        clips,
        usable,
        torch.from_numpy(job.labels.targets)[usable],
        torch.from_numpy(job.labels.weights)[usable],
        store.frame_rate,
    )
    loss = parts.find("losses", settings.loss["name"]).build(config.part_params("losses", settings.loss, "loss"))
    inner = None
    if settings.training.stop == "early":
        data, inner_part = split_inner(data, job)
        inner = _inner_loss(inner_part, loss, settings)
    lines: list[str] = []

    def report(entry: dict[str, float]) -> None:
        lines.append(json.dumps({"experiment": job.experiment.name, "fold": job.fold, **entry}))
        write_text(job.history_path, "\n".join(lines) + "\n")

    seed = seed_of(job.experiment.seed, job.fold, "training")
    return train(model, loss, data, settings, seed, _state_path(job), inner, report).epochs


def split_inner(data: TrainingSet, job: FoldJob) -> tuple[TrainingSet, TrainingSet]:
    """Part whole groups of the training clips off for early stopping, about `inner_share` of the clips."""
    ids = [job.labels.clip_ids[row] for row in data.rows.tolist()]
    group = np.unique([job.groups.get(name) or name for name in ids], return_inverse=True)[1]
    order = np.random.default_rng(seed_of(job.experiment.seed, job.fold, "inner")).permutation(group.max() + 1)
    share = np.cumsum(np.bincount(group)[order]) / len(group)
    chosen = order[: max(1, int((share <= job.experiment.config.training.inner_share).sum()))]
    inner = torch.from_numpy(np.isin(group, chosen))
    return _part(data, ~inner), _part(data, inner)


def _part(data: TrainingSet, chosen: torch.Tensor) -> TrainingSet:
    return replace(data, rows=data.rows[chosen], targets=data.targets[chosen], weights=data.weights[chosen])


def _inner_loss(inner: TrainingSet, loss: Loss, settings: config.ModelConfig) -> Callable[[Tagger], float]:
    """The training loss on one centred crop of every inner clip."""

    def measure(model: Tagger) -> float:
        model.eval()
        total, clips = 0.0, inner.clips
        length = round(settings.crop.seconds * inner.frame_rate)
        with torch.inference_mode():
            for picked in torch.arange(len(inner.rows)).split(settings.inference.batch_size):
                rows = inner.rows[picked].to(clips.features.device)
                starts = (clips.frames[rows] - length).clamp_min(0) // 2
                x = clips.crops(rows, starts, length, settings.crop.short, torch.ones(len(rows), device=rows.device))
                targets, weights = inner.targets[picked].to(x.device), inner.weights[picked].to(x.device)
                total += float(loss(model(x).float(), targets, weights)) * len(picked)
        return total / len(inner.rows)

    return measure
