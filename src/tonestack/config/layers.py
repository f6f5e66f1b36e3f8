"""Layered configuration: data, model, preset and command line, merged left to right, then validated.

A layer is `(place, mapping)`; the place is what an error message names. `DataConfig` holds what every
stage may need and never imports a network; `ModelConfig` holds what one experiment is.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from tonestack.base import parts
from tonestack.base.errors import UserError, nearest
from tonestack.base.files import load_yaml, read_text
from tonestack.base.section import Place, Section
from tonestack.deploy.recordings import PredictParams
from tonestack.ensemble.blends import BlendParams
from tonestack.ensemble.stacking import StackParams
from tonestack.features.audio import AudioParams
from tonestack.labels.trials import VerifyParams
from tonestack.report.settings import ReportParams
from tonestack.settings.sections import CleanParams, PseudoParams
from tonestack.settings.words import Words
from tonestack.studies.shift.adversarial import ShiftParams
from tonestack.tables import metrics

from pydantic import Field

PROJECT = Path(__file__).parents[3]
CONFIGS = PROJECT / "configs"

LOSS = {"name": "cross_entropy"}  # of a model config that names none

Layer = tuple[str, dict[str, Any]]


class FoldParams(Section):
    """How the training clips are split."""

    n: int = Field(5, ge=2, le=100)
    seed: int = Field(0, ge=0)
    repeats: int = Field(1, ge=1, le=100, description="cross-validations, each on folds of its own (`repeat`)")
    small_classes: Literal["refuse", "warn"] = "refuse"


Checksum = Annotated[str, Field(pattern=r"^(md5|sha1|sha256|sha512):[0-9a-f]+$")]


class DownloadParams(Section):
    """Where a competition's files come from; see `fetch.py`."""

    source: Literal["zenodo", "kaggle", "urls"] | None = None  # none: the first of these that is given
    zenodo: int | None = Field(None, description="number of the record")
    files: tuple[str, ...] = Field((), description="files of the record; none named: all")
    notice: str = Field("", description="what the owners ask of everybody who uses the files")
    kaggle: str | None = Field(None, description="the competition's name in Kaggle's addresses")
    urls: dict[str, Checksum] = Field(default_factory=dict, description="address: checksum, such as md5:0123...")
    server: str = "https://zenodo.org"
    max_gb: float = Field(100.0, gt=0, description="most that an archive may unpack to")
    max_ratio: float = Field(100.0, gt=1, description="most that an archive may grow by")
    keep: bool = Field(False, description="keep archives after unpacking")


class SubmitParams(Section):
    """Settings of the `submit` stage."""

    table: str | None = Field(None, description="table to submit, whatever cross-validation chooses")
    upload: bool = Field(False, description="send the file to Kaggle with the official client")
    message: str | None = Field(None, description="said with the upload; left out: table and score")


class DataConfig(Section):
    """What is known of a competition and of the choices made for all of its models."""

    reader: dict[str, Any]
    root: str
    task: str = "classify"
    metric: str = "map@3"
    more_metrics: tuple[str, ...] = Field((), description="said beside the metric of every fold and table")
    preset: str = "fast"
    presets: str | None = Field(None, description="folder of presets of its own: configs/preset/<presets>/")
    groups: dict[str, dict[str, list[str]]] = {}
    audio: AudioParams = AudioParams()
    folds: FoldParams = FoldParams()
    fold_mean: Literal["geometric", "arithmetic"] = "geometric"
    baseline: str = Field("", description="model config that the others are compared with (`repeat`)")
    blend: BlendParams = BlendParams()
    stack: StackParams = StackParams()
    submit: SubmitParams = SubmitParams()
    predict: PredictParams = PredictParams()
    shift: ShiftParams = ShiftParams()
    download: DownloadParams | None = None
    clean: CleanParams = CleanParams()
    pseudo: PseudoParams = PseudoParams()
    verify: VerifyParams = VerifyParams()
    report: ReportParams = ReportParams()


class CropParams(Section):
    """The piece of a clip that a network sees; lengths in seconds."""

    seconds: float = Field(2.56, gt=0)
    short: Literal["tile", "pad"] = "tile"
    normalise: Literal["dataset", "training", "minmax", "band", "frame", "none"] = Field(
        "dataset",
        description="by the mean and deviation a band of all train clips, of a fold's training part, or of the crop",
    )


class AugmentParams(Section):
    """Batched augmentation of crops; a zero switches a part off. See `augment.py`."""

    mixup: float = Field(0.0, ge=0, description="alpha of Beta(alpha, alpha)")
    mixup_share: float = Field(1.0, ge=0, le=1, description="share of batches that are mixed")
    stretch: float = Field(0.0, ge=0, lt=1, description="random resized crop: length factor in 1 ± stretch")
    shift_bands: float = Field(0.0, ge=0, lt=0.5, description="largest shift along frequency, share of the bands")
    time_masks: int = Field(0, ge=0)
    time_mask: float = Field(0.2, ge=0, le=1, description="largest mask, share of the crop")
    band_masks: int = Field(0, ge=0)
    band_mask: float = Field(0.2, ge=0, le=1, description="largest mask, share of the bands")
    erase: float = Field(0.0, ge=0, le=1, description="probability of random erasing of a rectangle")
    gain_db: float = Field(0.0, ge=0, description="largest random gain either way, dB")
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
        """Epochs and steps an epoch; a small set gets as many epochs as make `min_steps`."""
        steps = max(1, n_clips // self.batch_size)
        return max(self.epochs, math.ceil(self.min_steps / steps)), steps


class InferenceParams(Section):
    """Test-time augmentation: every clip is seen in several crops, at one or several lengths."""

    crops: int = Field(6, ge=1, description="most crops a clip and length")
    overlap: float = Field(0.5, ge=0, lt=1)
    lengths: tuple[float, ...] = Field((1.0,), min_length=1, description="factors of the crop length")
    mean: Literal["arithmetic", "geometric"] = "geometric"
    batch_size: int = Field(64, ge=1)


class PublishedParams(Section):
    """What a document says of a network: its number of classes and of parameters."""

    classes: int = Field(ge=1)
    parameters: int = Field(ge=1)


class ModelConfig(Section):
    """What one experiment is: its frontend, network, loss and how it is trained and used."""

    published: PublishedParams | None = None

    frontend: dict[str, Any]
    network: dict[str, Any]
    loss: dict[str, Any] = LOSS
    crop: CropParams = CropParams()
    augment: AugmentParams = AugmentParams()
    training: TrainingParams = TrainingParams()
    inference: InferenceParams = InferenceParams()


class Preset(Section):
    """configs/preset/<name>.yaml: which models, and what they and the data config change."""

    models: tuple[str, ...]
    data: dict[str, Any] = {}
    all: dict[str, Any] = {}
    each: dict[str, dict[str, Any]] = {}


def part_params(kind: str, section: dict[str, Any], place: Place) -> Section:
    """Validate a part's `{name, **params}` by its module's own `Params`."""

    def where(loc: tuple[str, ...]) -> str:
        return place(loc) if callable(place) else place

    name = section.get("name")
    if not isinstance(name, str):
        raise UserError(f"{where(('name',))}: 'name' is {name!r}; there is: {', '.join(parts.names(kind))}")
    module = parts.find(kind, name)
    params = {key: value for key, value in section.items() if key != "name"}
    parsed: Section = module.Params.parse(params, lambda loc: f"{where(loc)} ({name})")
    return parsed


def available(kind: str) -> list[str]:
    """Names of the configs of a kind: `data`, `model` or `preset`."""
    return sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; anything else is refused, naming file and line."""
    content = load_yaml(read_text(path), str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: a mapping of keys to values is expected")
    return content


def layer(kind: str, name: str) -> Layer:
    """Read configs/<kind>/<name>.yaml; a name that does not exist is refused with the nearest one."""
    if name not in available(kind):
        raise UserError(f"no {kind} config is called '{name}'{nearest(name, available(kind))} (configs/{kind}/)")
    return f"configs/{kind}/{name}.yaml", read_yaml(CONFIGS / kind / f"{name}.yaml")


def merge(layers: list[Layer]) -> dict[str, Any]:
    """Merge mappings left to right; a part whose `name` changes loses the old part's parameters."""
    result: dict[str, Any] = {}
    for _, values in layers:
        result = _merge_two(result, values)
    return result


def _merge_two(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    if "name" in right and "name" in left and right["name"] != left["name"]:
        return right
    result = dict(left)
    for key, value in right.items():
        both = isinstance(value, dict) and isinstance(left.get(key), dict)
        result[key] = _merge_two(left[key], value) if both else value
    return result


def _place_of(layers: list[Layer], loc: tuple[str, ...]) -> str:
    """Name the last layer that sets the key at `loc` (or the nearest level above it)."""
    for depth in range(len(loc), 0, -1):
        for place, values in reversed(layers):
            if _sets(values, loc[:depth]):
                return place
    return layers[0][0]


def _sets(values: Any, loc: tuple[str, ...]) -> bool:
    for key in loc:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _places(layers: list[Layer], section: str) -> Callable[[tuple[str, ...]], str]:
    """Where each parameter of a part was set."""
    return lambda loc: f"{_place_of(layers, (section, *loc))}: {section}"


def load_preset(words: Words) -> tuple[str, Preset]:
    """Place and content of the preset of a call: the word's, else the data config's own."""
    given = merge([layer("data", words.data), ("command line", words.overrides)])
    name = words.preset or str(given.get("preset", DataConfig.model_fields["preset"].default))
    place, values = layer("/".join(["preset", *filter(None, [given.get("presets")])]), name)
    return place, Preset.parse(values, place)


def of_task(words: Words) -> Words:
    """`data=NAME task=TASK` means the data config NAME_TASK where there is one: its folders are its own."""
    name = f"{words.data}_{words.overrides.get('task')}"
    if name not in available("data"):
        return words
    rest = {key: value for key, value in words.overrides.items() if key != "task"}
    return words.model_copy(update={"data": name, "overrides": rest})


def load_data(words: Words) -> tuple[DataConfig, Preset]:
    """Resolve the data config: its YAML, the preset's `data`, the words and overrides."""
    place, preset = load_preset(words)
    own, _ = split_overrides(words)
    typed = {"preset": Path(place).stem} | ({"root": words.root} if words.root else {})
    layers = [layer("data", words.data), (place, preset.data), ("command line", typed | own)]
    named = merge(layers).get("task", DataConfig.model_fields["task"].default)
    if not isinstance(named, str):
        known = ", ".join(parts.names("tasks"))
        raise UserError(f"{_place_of(layers, ('task',))}: 'task' is one name; there is: {known}")
    task = parts.find("tasks", named)
    layers = [(f"task {task.__name__.rpartition('.')[2]}", getattr(task, "DEFAULTS", {})), *layers]
    config = DataConfig.parse(merge(layers), lambda loc: _place_of(layers, loc))
    part_params("readers", config.reader, _places(layers, "reader"))
    for name in (config.metric, *config.more_metrics):
        metrics.resolve(name)  # refused here, not after a fold has been trained
    if hasattr(task, "check"):
        task.check(config)
    return config, preset


def load_model(name: str, preset: Preset, words: Words, loss: dict[str, Any] = LOSS) -> ModelConfig:
    """Resolve one model config: its YAML, the preset's `all` and `each`, the overrides; `loss` where none is named."""
    _, own = split_overrides(words)
    place, _ = load_preset(words)
    layers = [layer("model", name), (place, preset.all), (place, preset.each.get(name, {})), ("command line", own)]
    config = ModelConfig.parse(merge([("", {"loss": loss}), *layers]), lambda loc: _place_of(layers, loc))
    return config.model_copy(update=_with_defaults(config, layers))


def _with_defaults(config: ModelConfig, layers: list[Layer]) -> dict[str, Any]:
    """Fill every part's defaults in, so that a saved config says all of what was run."""
    filled = {}
    for section, kind in (("frontend", "frontends"), ("network", "models"), ("loss", "losses")):
        values = getattr(config, section)
        params = part_params(kind, values, _places(layers, section)).model_dump(mode="json")
        filled[section] = {"name": values["name"]} | params
    return filled


def split_overrides(words: Words) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the dotted overrides into those of the data config and those of the model configs."""
    of_data, of_model = DataConfig.model_fields, ModelConfig.model_fields
    unknown = [key for key in words.overrides if key not in of_data and key not in of_model]
    if unknown:
        raise UserError(f"command line: unknown section '{unknown[0]}.'{nearest(unknown[0], {*of_data, *of_model})}")
    own = {key: value for key, value in words.overrides.items() if key in of_data}
    model = {key: value for key, value in words.overrides.items() if key in of_model}
    return own, model
