"""Settings of a model config (one experiment) and of a preset.

configs/model/<name>.yaml is a `ModelConfig`, configs/preset/<name>.yaml a `Preset`.
"""

import math
from typing import Any, Literal

from tonestack.base.section import Section

from pydantic import Field

LOSS = {"name": "cross_entropy"}  # of a model config that names none


class CropParams(Section):
    """The piece of a clip that a network sees; lengths in seconds."""

    seconds: float = Field(2.56, gt=0)
    short: Literal["tile", "pad"] = "tile"
    normalise: Literal["dataset", "training", "level", "minmax", "band", "frame", "none"] = Field(
        "dataset",
        description="by the mean and deviation per band of all train clips or of a fold's training part; level: "
        "relative to the crop's loudest frame; minmax, band, frame: by the crop's own values",
    )


class AugmentParams(Section):
    """Batched augmentation of crops; a zero switches a part off. See `training/augment.py`."""

    mixup: float = Field(0.0, ge=0, description="alpha of Beta(alpha, alpha), the shares of two mixed crops; 1: even")
    mix: Literal["values", "power"] = Field(
        "values", description="mix the values (dB) of two spectrograms, or their powers, which is mixing the sounds"
    )
    mix_labels: Literal["blend", "union"] = Field("blend", description="by the shares of both crops, or both in full")
    mixup_share: float = Field(1.0, ge=0, le=1, description="share of batches that are mixed")
    stretch: float = Field(0.0, ge=0, lt=1, description="random resized crop: length factor in 1 ± stretch")
    shift_bands: float = Field(0.0, ge=0, lt=0.5, description="largest shift along frequency, share of the bands")
    time_masks: int = Field(0, ge=0)
    time_mask: float = Field(0.2, ge=0, le=1, description="largest mask, share of the crop")
    band_masks: int = Field(0, ge=0)
    band_mask: float = Field(0.2, ge=0, le=1, description="largest mask, share of the bands")
    erase: float = Field(0.0, ge=0, le=1, description="probability of random erasing of a rectangle")
    gain_db: float = Field(0.0, ge=0, description="largest random gain either way, dB")
    roll: bool = Field(False, description="a clip that its crop covers starts anywhere, its end followed by its start")
    equaliser_db: float = Field(0.0, ge=0, description="deviation of a random smooth curve over the bands, dB")
    tilt_db: float = Field(0.0, ge=0, description="largest random spectral tilt at the band edges, dB")
    noise: float = Field(0.0, ge=0, description="standard deviation of added noise, normalised units")


class TrainingParams(Section):
    """One training run."""

    epochs: int = Field(40, ge=1)
    min_steps: int = Field(0, ge=0, description="small sets train longer: at least so many steps")
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    betas: tuple[float, float] = Field((0.9, 0.999), description="of Adam and AdamW")
    eps: float = Field(1e-8, gt=0, description="of Adam and AdamW")
    schedule: Literal["onecycle", "cosine", "constant", "step"] = "onecycle"
    step_epochs: int = Field(7, ge=1, description="schedule step: epochs between two falls of the rate")
    gamma: float = Field(0.1, gt=0, le=1, description="schedule step: factor of each fall")
    warmup: float = Field(0.15, ge=0, lt=1, description="share of the steps in which the rate rises")
    grad_clip: float = Field(5.0, ge=0, description="largest gradient norm; 0: none")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights; 0: no averaging")
    balanced: float = Field(0.0, ge=0, le=1, description="class-balanced sampling: 0 none, 1 classes even")
    source_weights: dict[str, float] = Field(
        default_factory=lambda: {"given": 1.0}, description="loss weight by a label's source"
    )
    verified_only: bool = False
    stop: Literal["fixed", "early"] = "fixed"
    inner_share: float = Field(0.15, gt=0, lt=0.5, description="of the training part, where stop is early")
    patience: int = Field(15, ge=1, description="epochs without a better inner loss")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True
    compile: Literal["none", "graph", "inductor"] = Field(
        "none", description="steps as they are, recorded as a CUDA graph (GPUs only), or the network compiled"
    )

    def plan(self, n_clips: int) -> tuple[int, int]:
        """Epochs and steps per epoch; a small set gets as many epochs as make `min_steps`."""
        steps = max(1, n_clips // self.batch_size)
        return max(self.epochs, math.ceil(self.min_steps / steps)), steps


class InferenceParams(Section):
    """Test-time augmentation: each clip is predicted from several crops, at one or several lengths."""

    crops: int = Field(6, ge=1, description="most crops per clip and length")
    overlap: float = Field(0.5, ge=0, lt=1)
    lengths: tuple[float, ...] = Field((1.0,), min_length=1, description="factors of the crop length")
    rolls: int = Field(1, ge=1, description="crops of a clip that one crop covers: each starts further on and wraps")
    mean: Literal["arithmetic", "geometric"] = "geometric"
    batch_size: int = Field(64, ge=1)


class PublishedParams(Section):
    """Published facts of a network: its number of classes and of parameters."""

    classes: int = Field(ge=1)
    parameters: int = Field(ge=1)


class ModelConfig(Section):
    """One experiment: its frontend, network and loss, its training and its use."""

    published: PublishedParams | None = None

    frontend: dict[str, Any]
    network: dict[str, Any]
    loss: dict[str, Any] = LOSS
    crop: CropParams = CropParams()
    augment: AugmentParams = AugmentParams()
    training: TrainingParams = TrainingParams()
    inference: InferenceParams = InferenceParams()


class Preset(Section):
    """configs/preset/<name>.yaml: models, and the keys of theirs and of the data config that it changes."""

    models: tuple[str, ...]
    data: dict[str, Any] = {}
    all: dict[str, Any] = {}
    each: dict[str, dict[str, Any]] = {}
