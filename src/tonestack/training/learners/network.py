"""Networks: trained by gradient on random crops, resumable after every epoch, used with test-time augmentation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.files import read_json
from tonestack.features import frontends, pieces
from tonestack.features.store import Store
from tonestack.labels.pool_labels import PoolLabels
from tonestack.labels.training_labels import inner_part
from tonestack.networks import weights
from tonestack.networks.layers import Network, Normalise, Tagger, count_parameters
from tonestack.networks.losses import AnyLoss, EmbeddingLoss, Loss
from tonestack.settings.model_config import ModelConfig
from tonestack.tasks import Task
from tonestack.training import distil
from tonestack.training.crops import Clips
from tonestack.training.device import choose_device, seed_of
from tonestack.training.inference import ToLogProbabilities, predict
from tonestack.training.job import FoldJob
from tonestack.training.loop import TrainingSet
from tonestack.training.loop import fit as train
from tonestack.training.step import loss_on, outputs
from tonestack.training.windows import predict_pieces

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


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
        clips = Clips.load(self.store, clip_ids, self.device)
        config, task = self.job.experiment.config, tasks.find(self.job.task)
        return _predicted(self.model, self.store, clip_ids, clips, config, task)

    def unit_embeddings(self, clip_ids: list[str]) -> np.ndarray:
        """Mean over test-time crops of embeddings of length one (N, D) float32; NaN rows without audio.

        The product of two of them is the mean cosine over all pairs of crops.
        """
        clips = Clips.load(self.store, clip_ids, self.device)
        return _embedded(self.model, clips, self.job.experiment.config, self.store.frame_rate, F.normalize)

    def done(self) -> None:
        """Remove the state from which a killed run would have gone on."""
        self.job.state_path.unlink(missing_ok=True)
        self.job.distil_path.unlink(missing_ok=True)


def fit(job: FoldJob, store: Store) -> FittedNetwork:
    """Build the fold's network from its seed and train it."""
    device = choose_device(job.device)
    settings, store = job.experiment.config, _standardised(store, job)
    torch.manual_seed(seed_of(job.experiment.seed, job.fold, "weights"))
    model = build_model(_as_student(settings, job), store, len(job.classes)).to(device)
    if job.initial is not None:
        weights.put(model, weights.read_fold(job.initial, job.headings), job.initial)
    else:
        start_from_published(model, settings)
    model.network.freeze(settings.training.freeze)
    if settings.training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FittedNetwork(job, store, model, device, _train(job, model, store, device))


def reopen(job: FoldJob, store: Store, made: Path) -> FittedNetwork:
    """The fold's network from the weights of a finished fold that was trained as it would be."""
    device, store = choose_device(job.device), _standardised(store, job)
    model = load(replace(job, folder=made.parent), store, device)
    if job.experiment.config.training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FittedNetwork(job, store, model, device, int(read_json(made.with_suffix(".json"))["epochs"]))


def _standardised(store: Store, job: FoldJob) -> Store:
    """The store by the statistics of the clips that the fold learns from, where the settings say so."""
    own = job.experiment.config.crop.normalise == "training"
    return store.standardised_on(job.labels.clip_ids) if own else store


def _as_student(settings: ModelConfig, job: FoldJob) -> ModelConfig:
    """The settings with the drop path of student rounds, where the network has one."""
    model = parts.find("models", settings.network["name"])
    if job.pool is None or job.pool.drop_path is None or "drop_path" not in model.Params.model_fields:
        return settings
    return settings.model_copy(update={"network": settings.network | {"drop_path": job.pool.drop_path}})


def build_model(settings: ModelConfig, store: Store, n_classes: int) -> Tagger:
    """Build the network behind its input normalisation (waveforms are only scaled)."""
    module = parts.find("models", settings.network["name"])
    params = parts.part_params("models", settings.network, "network")
    wave = store.width == 1
    mean, std = (np.zeros(1), np.ones(1)) if wave else (store.mean, store.std)
    normalise = Normalise(torch.from_numpy(mean), torch.from_numpy(std), settings.crop.normalise)
    return Tagger(normalise, module.build(params, store.width, n_classes), _centres(settings))


def _centres(settings: ModelConfig) -> Tensor | None:
    """Centres (F,) of the frontend's bands in Hz, where training plays at random speeds and they are known."""
    centres = frontends.centres(settings.frontend) if settings.augment.speed else None
    return None if centres is None else torch.from_numpy(centres).float()


def start_from_published(model: Tagger, settings: ModelConfig) -> None:
    """Fill in published weights where the model knows of any (`pretrain(network, params)` in its module)."""
    pretrain = getattr(parts.find("models", settings.network["name"]), "pretrain", None)
    if pretrain:
        pretrain(model.network, parts.part_params("models", settings.network, "network"))


def _predicted(
    model: Tagger, store: Store, clip_ids: list[str], clips: Clips, settings: ModelConfig, task: Task
) -> np.ndarray:
    """Log-probabilities (N, C) of a store's clips, whole files or pieces of them."""
    recordings = np.stack(store.recordings(clip_ids), axis=1)
    rate, independent = store.frame_rate, not task.one_label
    return predict_pieces(model, clips, recordings, settings, rate, task.log_probabilities, independent)


class RestoredNetwork:
    """A network read back from its file, for the clips of any store of its frontend."""

    def __init__(self, settings: ModelConfig, model: Tagger, task: str, device: torch.device) -> None:
        self.settings, self.model, self.device = settings, model, device
        self.task = tasks.find(task)

    def log_probabilities(self, store: Store, clip_ids: list[str], crops: int | None = None) -> np.ndarray:
        """Mean over test-time crops (N, C); NaN rows for clips without audio."""
        clips, settings = Clips.load(store, clip_ids, self.device), self.settings
        if store.width > 1:
            clips.fill = self.model.normalise.mean.flatten()  # what padding held in training
        if crops is not None and crops < settings.inference.crops:
            fewer = {"crops": crops, "rolls": min(crops, settings.inference.rolls), "speeds": (1.0,)}
            settings = settings.model_copy(update={"inference": settings.inference.model_copy(update=fewer)})
        return _predicted(self.model, store, clip_ids, clips, settings, self.task)


def restore(
    settings: ModelConfig, tensors: dict[str, Tensor], classes: int, task: str, device: torch.device
) -> RestoredNetwork:
    """The network that `FittedNetwork.tensors` describes; all it needs is in the file, nothing is fetched."""
    model = rebuild(settings, tensors, classes).to(device)
    if settings.training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return RestoredNetwork(settings, model, task, device)


def rebuild(settings: ModelConfig, tensors: dict[str, Tensor], classes: int) -> Tagger:
    """The network of a file of weights, on the CPU."""
    params = parts.part_params("models", unfetched(settings).network, "network")
    mean, std = tensors["normalise.mean"].flatten(), tensors["normalise.std"].flatten()
    network = parts.find("models", settings.network["name"]).build(params, len(mean), classes)
    model = Tagger(Normalise(mean, std, settings.crop.normalise), network, _centres(settings))
    model.load_state_dict(tensors)
    return model


def unfetched(settings: ModelConfig) -> ModelConfig:
    """The settings without the weights from which training started: a fold's file holds all that it needs."""
    started = {"pretrained": "off" if isinstance(settings.network.get("pretrained"), str) else False, "weights": None}
    network = settings.network | {key: value for key, value in started.items() if key in settings.network}
    return settings.model_copy(update={"network": network})


def load(job: FoldJob, store: Store, device: torch.device) -> Tagger:
    """The network of a finished fold, as it was saved."""
    model = build_model(unfetched(job.experiment.config), store, len(job.classes))
    path = job.folder / f"fold{job.fold}.safetensors"
    weights.put(model, weights.read_fold(path, job.headings), path)
    return model.to(device)


class _Embedder(Tagger):
    """A network up to its penultimate layer."""

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


def embeddings(job: FoldJob, store: Store, clip_ids: list[str]) -> np.ndarray:
    """Penultimate layer (N, D) of a finished fold's network, mean over test-time crops; NaN rows without audio."""
    device = choose_device(job.device)
    clips = Clips.load(store, clip_ids, device)
    return _embedded(load(job, store, device), clips, job.experiment.config, store.frame_rate, lambda x: x)


def unit_embeddings(job: FoldJob, store: Store, clips: Clips) -> np.ndarray:
    """The same as `FittedNetwork.unit_embeddings` by a finished fold's network."""
    model = load(job, store, clips.features.device)
    return _embedded(model, clips, job.experiment.config, store.frame_rate, F.normalize)


def _embedded(
    model: Tagger, clips: Clips, settings: ModelConfig, frame_rate: float, finish: ToLogProbabilities
) -> np.ndarray:
    """Plain mean over test-time crops of `finish(embedding)` (N, D); NaN rows without audio."""
    plain = settings.inference.model_copy(update={"mean": "geometric", "lengths": (1.0,), "speeds": (1.0,)})
    embedder = _Embedder(model.normalise, model.network)
    if clips.features.dtype != torch.int16:
        clips.fill = model.normalise.mean.flatten()  # what padding held in training
    settings = settings.model_copy(update={"inference": plain})
    return predict(embedder, clips, settings, frame_rate, finish).astype(np.float32)


def _train(job: FoldJob, model: Tagger, store: Store, device: torch.device) -> int:
    """Train the network, distilled first if the settings say so and it has not learnt before; return the epochs."""
    settings = job.experiment.config
    data = training_set(job, store, device)
    torch.manual_seed(seed_of(job.experiment.seed, job.fold, "loss"))
    loss = build_loss(settings, model.network, len(job.classes), device)
    inner = None
    if settings.training.stop == "early":
        data, inner_part = split_inner(data, job)
        inner = _inner_loss(inner_part, loss, settings)
    add, before = job.history_writer(), 0
    if settings.training.distil.epochs and job.initial is None:
        before = distil.learn(job, model, distil.lesson(job, data, store, device), add)
    if job.pool is not None:
        data = with_pool(data, job.pool, job, store, device)
    seed = seed_of(job.experiment.seed, job.fold, "training")

    def report(entry: dict[str, float]) -> None:
        add(entry | {"epoch": before + entry["epoch"]})

    return before + len(train(model, loss, data, settings, seed, job.state_path, inner, report, job.inputs).epochs)


def training_set(job: FoldJob, store: Store, device: torch.device) -> TrainingSet:
    """The fold's training clips that have audio; those without a label, and the job's own, are its backgrounds."""
    clips = Clips.load(store, [*job.labels.clip_ids, *job.backgrounds], device)
    audible = torch.as_tensor(np.flatnonzero(clips.frames.cpu().numpy() > 0))
    count = len(job.labels.clip_ids)
    usable, others = audible[audible < count], audible[audible >= count]
    targets = torch.tensor(job.labels.targets)[usable]  # a copy: an engine may hand arrays over that cannot be written
    nothing = (targets == 0).all(dim=1)
    weights, backgrounds = torch.tensor(job.labels.weights)[usable], torch.cat([usable[nothing], others])
    if job.experiment.config.augment.background and not len(backgrounds):
        print(f"{job.name}: no training clip is without a label, so augment.background does nothing", flush=True)
    return TrainingSet(clips, usable, targets, weights, store.frame_rate, backgrounds)


def with_pool(data: TrainingSet, pool: PoolLabels, job: FoldJob, store: Store, device: torch.device) -> TrainingSet:
    """The training set with the pool's pieces as partners, at the end of its clips."""
    table, targets, weights = pool.read(job.classes)
    wider, ids = pieces.with_pieces(store, table)
    known = [*job.labels.clip_ids, *job.backgrounds]
    clips = Clips.load(wider, [*known, *ids], device)
    usable = (wider.rows(ids)[1] > 0).nonzero()[0]
    return replace(
        data,
        clips=clips,
        rows=torch.cat([data.rows, torch.from_numpy(usable) + len(known)]),
        targets=torch.cat([data.targets, torch.from_numpy(targets[usable])]),
        weights=torch.cat([data.weights, torch.from_numpy(weights[usable])]),
        partners=len(usable),
        share=pool.share,
    )


def build_loss(settings: ModelConfig, network: Network, n_classes: int, device: torch.device) -> AnyLoss:
    """Build the loss; one with parameters of its own fits the network's embedding and lies on its device."""
    module = parts.find("losses", settings.loss["name"])
    params = parts.part_params("losses", settings.loss, "loss")
    if not getattr(module, "ON_EMBEDDING", False):
        loss: Loss = module.build(params)
        return loss
    own: EmbeddingLoss = module.build(params, network.width, n_classes)
    return own.to(device)


def split_inner(data: TrainingSet, job: FoldJob) -> tuple[TrainingSet, TrainingSet]:
    """Part whole groups of the training clips off for early stopping, about `inner_share` of the clips."""
    ids = [job.labels.clip_ids[row] for row in data.rows.tolist()]
    seed = seed_of(job.experiment.seed, job.fold, "inner")
    inner = torch.from_numpy(inner_part(ids, job.groups, job.experiment.config.training.inner_share, seed))
    return _part(data, ~inner), _part(data, inner)


def _part(data: TrainingSet, chosen: torch.Tensor) -> TrainingSet:
    return replace(data, rows=data.rows[chosen], targets=data.targets[chosen], weights=data.weights[chosen])


def _inner_loss(inner: TrainingSet, loss: AnyLoss, settings: ModelConfig) -> Callable[[Tagger], float]:
    """The training loss on one centred crop of every inner clip."""

    def measure(model: Tagger) -> float:
        model.eval()
        total, clips = 0.0, inner.clips
        length = settings.crop_frames(inner.frame_rate)
        with torch.inference_mode():
            for picked in torch.arange(len(inner.rows)).split(settings.inference.batch_size):
                rows = inner.rows[picked].to(clips.home)
                starts = (clips.frames[rows] - length).clamp_min(0) // 2
                x = clips.crops(rows, starts, length, settings.crop.short, torch.ones(len(rows), device=rows.device))
                targets, weights = inner.targets[picked].to(x.device), inner.weights[picked].to(x.device)
                found = outputs(model.network, model.normalise(x))
                value = loss_on(loss, found, targets, weights, settings.training.frame_loss)
                total += float(value) * len(picked)
        return total / len(inner.rows)

    return measure
