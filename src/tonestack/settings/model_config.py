"""Settings of a model config (one experiment) and of a preset.

configs/model/<name>.yaml is a `ModelConfig`, configs/preset/<name>.yaml a `Preset`.
"""

import math
from typing import Annotated, Any, Literal

from tonestack.base.section import Section

from pydantic import Field

LOSS = {"name": "cross_entropy"}  # of a model config that names none
PlayingSpeed = Annotated[float, Field(ge=0.5, le=2)]  # 2: twice as fast
INVERTIBLE = ("dataset", "training", "level", "none")  # normalisations after which powers can still be had


class CropParams(Section):
    """The piece of a clip that a network sees; lengths in seconds."""

    seconds: float = Field(2.56, gt=0, description="length of a crop, s")
    fit: bool = Field(
        False,
        description="where nearly all recordings are shorter than nine tenths of the crop, crop and hop "
        "shrink with the longest, to a hop of 10 ms at least",
    )
    short: Literal["tile", "pad"] = Field(
        "tile", description="clips shorter than a crop: repeated, or padded with silence"
    )
    normalise: Literal["dataset", "training", "level", "minmax", "band", "frame", "none"] = Field(
        "dataset",
        description="dataset, training: by mean and deviation per band, of all training clips or a fold's; "
        "level: relative to the crop's loudest frame; minmax, band, frame: by the crop's own values",
    )


class AugmentParams(Section):
    """Batched augmentation of crops; a zero switches a part off."""

    mixup: float = Field(0.0, ge=0, description="alpha of Beta(alpha, alpha), the shares of two mixed crops; 1: even")
    mix_ratio: float = Field(0.0, ge=0, lt=1, description="fixed share of two mixed crops in place of a drawn one")
    mix_more: int = Field(0, ge=0, le=6, description="further crops that are mixed in, one after the other")
    mix: Literal["values", "power", "cut"] = Field(
        "values",
        description="mix the values (dB) of two spectrograms, or their powers, which is mixing the sounds; "
        "cut: one follows the other in time",
    )
    mix_align: bool = Field(
        False, description="mix power: the other crop is first brought to the same mean power, however far away it was"
    )
    mix_labels: Literal["blend", "union"] = Field(
        "blend", description="labels of both crops: weighted by their shares, or both in full"
    )
    mixup_share: float = Field(1.0, ge=0, le=1, description="share of batches that are mixed")
    speed: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="playing speed in 1 ± speed: length and, on mel and constant-Q bands, pitch change together",
    )
    stretch: float = Field(0.0, ge=0, lt=1, description="random resized crop: length factor in 1 ± stretch")
    shift_bands: float = Field(0.0, ge=0, lt=0.5, description="largest shift along frequency, share of the bands")
    time_masks: int = Field(0, ge=0, description="masks along time")
    time_mask: float = Field(0.2, ge=0, le=1, description="largest mask, share of the crop")
    band_masks: int = Field(0, ge=0, description="masks along frequency")
    band_mask: float = Field(0.2, ge=0, le=1, description="largest mask, share of the bands")
    erase: float = Field(0.0, ge=0, le=1, description="probability of random erasing of a rectangle")
    gain_db: float = Field(0.0, ge=0, description="largest random gain either way, dB")
    roll: bool = Field(False, description="a clip that its crop covers starts anywhere, its end followed by its start")
    equaliser_db: float = Field(0.0, ge=0, description="deviation of a random smooth curve over the bands, dB")
    mixstyle: float = Field(
        0.0, ge=0, le=1, description="share of crops whose mean and deviation per band are mixed with another's"
    )
    tilt_db: float = Field(0.0, ge=0, description="largest random spectral tilt at the band edges, dB")
    noise: float = Field(0.0, ge=0, description="standard deviation of added noise, normalised units")
    background: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of crops under which a clip without any label is mixed, if there is one",
    )
    background_db: tuple[float, float] = Field(
        (0.0, 20.0), description="least and largest level of a crop above its background, dB"
    )

    background_pool: bool = Field(
        False, description="the unlabelled recordings of the competition count as backgrounds, too"
    )

    @property
    def mixes(self) -> bool:
        """True if crops are mixed with one another."""
        return self.mixup > 0 or self.mix_ratio > 0


class DistilParams(Section):
    """Before the labels, a network may learn what a pretrained model hears: an embedding of every clip."""

    epochs: int = Field(0, ge=0, description="passes in which the network learns the clips' embeddings; 0: none")
    lr: float = Field(2e-3, gt=0, description="highest learning rate of these passes")
    test: bool = Field(False, description="the test clips are heard in them, too")
    teacher: dict[str, Any] = Field(
        {}, description="settings of the frontend `embedding`; left out: the data config's section `embedding`"
    )


class TrainingParams(Section):
    """One training run."""

    epochs: int = Field(40, ge=1, description="passes over the training part")
    min_steps: int = Field(0, ge=0, description="least number of steps; small sets train more epochs")
    batch_size: int = Field(32, ge=2, description="clips per step")
    optimizer: Literal["muon", "adamw", "adam", "sgd"] = Field(
        "adamw", description="optimiser; muon: orthogonalised steps of convolutions and matrices, NAdamW for the rest"
    )
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor of the rate from each stage of a network to the one below it; fine-tuning"
    )
    freeze: int = Field(0, ge=0, description="first stages below the classifier that stay as they are; fine-tuning")
    weight_decay: float = Field(0.01, ge=0, description="weight decay")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay rates of Adam and AdamW")
    eps: float = Field(1e-8, gt=0, description="epsilon of Adam and AdamW")
    schedule: Literal["onecycle", "cosine", "constant", "step"] = Field(
        "onecycle", description="course of the learning rate over the steps"
    )
    step_epochs: int = Field(7, ge=1, description="schedule step: epochs between two falls of the rate")
    gamma: float = Field(0.1, gt=0, le=1, description="schedule step: factor of each fall")
    warmup: float = Field(0.15, ge=0, lt=1, description="share of the steps in which the rate rises")
    grad_clip: float = Field(5.0, ge=0, description="largest gradient norm; 0: none")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights; 0: no averaging")
    frame_loss: float = Field(
        0.5, ge=0, description="weight of the loss on the frames' maximum beside the crop's, where the head is `sed`"
    )
    balanced: float = Field(0.0, ge=0, le=1, description="class-balanced sampling: 0 none, 1 classes even")
    source_weights: dict[str, float] = Field(
        default_factory=lambda: {"given": 1.0}, description="loss weight by a label's source"
    )
    verified_only: bool = Field(False, description="train on verified clips alone")
    stop: Literal["fixed", "early"] = Field(
        "fixed", description="a fixed number of epochs, or early stopping on an inner split"
    )
    inner_share: float = Field(0.15, gt=0, lt=0.5, description="share of the training part held out for early stopping")
    patience: int = Field(15, ge=1, description="epochs without a better inner loss")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="number format of the network; auto: bfloat16 where the device is fast at it"
    )
    channels_last: bool = Field(True, description="memory layout of the convolutions")
    compile: Literal["none", "graph", "inductor"] = Field(
        "none",
        description="GPUs only: steps as they are, recorded as a CUDA graph, or the network compiled and then recorded",
    )

    distil: DistilParams = DistilParams()

    def plan(self, n_clips: int) -> tuple[int, int]:
        """Return the number of epochs and the steps per epoch; a small set gets as many epochs as make `min_steps`."""
        steps = max(1, n_clips // self.batch_size)
        return max(self.epochs, math.ceil(self.min_steps / steps)), steps


class InferenceParams(Section):
    """Test-time augmentation: every clip is predicted in several crops, at one or several lengths."""

    crops: int = Field(6, ge=1, description="most crops per clip and length")
    overlap: float = Field(0.5, ge=0, lt=1, description="overlap of neighbouring crops, share of a crop")
    lengths: tuple[float, ...] = Field((1.0,), min_length=1, description="factors of the crop length")
    rolls: int = Field(
        1, ge=1, description="crops of a clip that is no longer than a crop; each starts later and wraps around"
    )
    speeds: tuple[PlayingSpeed, ...] = Field(
        (1.0,),
        min_length=1,
        description="playing speeds at which every crop of a clip is heard; with augment.speed, bands move along; "
        "windows that are pooled from frames are heard at 1",
    )
    windows: Literal["alone", "attention", "mean", "max", "top"] = Field(
        "max",
        description="windows of a recording: each heard by itself, or pooled from the frames of overlapping crops of "
        "all of it, by attention, mean, maximum or the mean of the top quarter; the latter where the head is `sed`",
    )
    half_shift: bool = Field(
        False,
        description="windows that are heard by themselves: half of each is what is said of it, a quarter what is said "
        "of either window that lies half a window beside it; twice the work",
    )
    mean: Literal["arithmetic", "geometric"] = Field("geometric", description="mean over the crops' probabilities")
    batch_size: int = Field(64, ge=1, description="crops per batch")


class PublishedParams(Section):
    """Published size of a network."""

    classes: int = Field(ge=1, description="number of classes")
    parameters: int = Field(ge=1, description="number of parameters")


class ModelConfig(Section):
    """One experiment: its frontend, network, loss, training and inference."""

    published: PublishedParams | None = None

    frontend: dict[str, Any] = Field(description="{name: ..., settings}: features that the network sees")
    network: dict[str, Any] = Field(description="{name: ..., settings}: the model")
    loss: dict[str, Any] = Field(LOSS, description="{name: ..., settings}: the loss")
    crop: CropParams = CropParams()
    augment: AugmentParams = AugmentParams()
    training: TrainingParams = TrainingParams()
    inference: InferenceParams = InferenceParams()

    @property
    def frontends(self) -> list[dict[str, Any]]:
        """The frontends whose features training reads: the network's own, and that of a teacher."""
        distil = self.training.distil
        return [self.frontend, distil.teacher] if distil.epochs else [self.frontend]

    def crop_frames(self, frame_rate: float, factor: float = 1.0) -> int:
        """Frames of a crop, at least one: a window of an embedding may be longer than a crop. factor: of its length."""
        return max(1, round(self.crop.seconds * factor * frame_rate))


class Preset(Section):
    """configs/preset/<name>.yaml: models, and the keys of theirs and of the data config that it changes."""

    models: tuple[str, ...] = Field(description="models that calls train when they name none")
    data: dict[str, Any] = Field({}, description="changes of the data config")
    all: dict[str, Any] = Field({}, description="changes of every model config")
    each: dict[str, dict[str, Any]] = Field({}, description="changes by model config")
    light: dict[str, Any] = Field({}, description="changes of the keys above where light=true, as on slow CPUs")
