"""Layered configuration: data, model, preset and command line, merged left to right, then validated.

A layer is `(place, mapping)`; the place is what an error message names. `DataConfig` holds what every
stage may need and never imports a network; `ModelConfig` holds what one experiment is.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tonestack import tasks
from tonestack.base import hardware, parts
from tonestack.base.errors import UserError, nearest
from tonestack.base.files import fingerprint, load_yaml, read_json, read_text
from tonestack.settings.data_config import DataConfig
from tonestack.settings.model_config import LOSS, ModelConfig, Preset
from tonestack.settings.words import Words
from tonestack.tables import metrics

PROJECT = Path(__file__).parents[3]
CONFIGS = PROJECT / "configs"
SHIPPED = "model/shipped.json"  # content hashes of the model configs that came; see `tests/shipped_models.py`
PARTS = (("frontend", "frontends"), ("network", "models"), ("loss", "losses"))  # sections, and where their parts lie
EPOCHS = ("epochs", "min_steps")  # of `training`: what models that are fitted in one go have none of
Layer = tuple[str, dict[str, Any]]


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
    keys = (loc[:depth] for depth in range(len(loc), 0, -1))
    return next((place for key in keys for place, values in reversed(layers) if _sets(values, key)), layers[0][0])


def _sets(values: Any, loc: tuple[str, ...]) -> bool:
    return not loc or (isinstance(values, dict) and loc[0] in values and _sets(values[loc[0]], loc[1:]))


def _places(layers: list[Layer], section: str) -> Callable[[tuple[str, ...]], str]:
    """Where each parameter of a part was set."""
    return lambda loc: f"{_place_of(layers, (section, *loc))}: {section}"


def load_preset(words: Words) -> tuple[str, Preset]:
    """Place and content of the preset of a call: the word's, else the data config's own."""
    given = merge([layer("data", words.data), ("command line", words.overrides)])
    name = words.preset or str(given.get("preset", DataConfig.model_fields["preset"].default))
    place, values = layer("/".join(["preset", *filter(None, [given.get("presets")])]), name)
    preset = Preset.parse(values, place)
    light = lightened(preset, place)
    for model in (*preset.models, *preset.each, *light.models, *light.each):
        if model not in available("model"):
            raise UserError(f"{place}: no model config is called '{model}'{nearest(model, available('model'))}")
    return place, preset


def lightened(preset: Preset, place: str) -> Preset:
    """The preset with its own changes for slow CPUs, which may set all of its keys."""
    return Preset.parse(merge([(place, preset.model_dump()), (place, preset.light)]), f"{place}: light")


def fitted(preset: Preset, words: Words) -> Preset:
    """The preset, lightened where the words say so; where they do not, on a CPU slow at bfloat16, which is said."""
    slow = words.light is None and bool(preset.light) and not hardware.computes_bfloat16(words.device)
    if slow:
        _say_light()
    return lightened(preset, "preset") if slow or words.light else preset


@cache
def _say_light() -> None:
    """Print once per process that the machine chose."""
    print("this CPU computes bfloat16 slowly: the preset's lighter networks are taken; light=false takes the others")


def of_task(words: Words) -> Words:
    """`data=NAME task=TASK` means the data config NAME_TASK where there is one: its folders are its own."""
    name = f"{words.data}_{words.overrides.get('task')}"
    if name not in available("data"):
        return words
    rest = {key: value for key, value in words.overrides.items() if key != "task"}
    return words.model_copy(update={"data": name, "overrides": rest})


def load_data(words: Words) -> tuple[DataConfig, Preset]:
    """Resolve the data config: its YAML, the preset's `data`, the words and overrides; return the preset, too."""
    place, preset = load_preset(words)
    own, _ = split_overrides(words)
    typed = {"preset": Path(place).stem} | ({"root": words.root} if words.root else {})
    changes = fitted(preset, words).data if "data" in preset.light else preset.data  # asking the machine takes seconds
    layers = [layer("data", words.data), (place, changes), ("command line", typed | own)]
    named = merge(layers).get("task", DataConfig.model_fields["task"].default)
    if not isinstance(named, str):
        known = ", ".join(parts.names("tasks"))
        raise UserError(f"{_place_of(layers, ('task',))}: 'task' is one name; there is: {known}")
    task = tasks.find(named)
    layers = [(f"task {task.name}", task.defaults), *layers]
    config = DataConfig.parse(merge(layers), lambda loc: _place_of(layers, loc))
    parts.part_params("readers", config.reader, _places(layers, "reader"))
    if config.embedding:
        parts.part_params("frontends", {"name": "embedding"} | config.embedding, _places(layers, "embedding"))
    _check_metrics(config, task)
    task.check(config)
    return config, preset


def _check_metrics(config: DataConfig, task: tasks.Task) -> None:
    """Refuse metrics that do not exist or do not fit the task, before a fold is trained."""
    for name in (config.metric, *config.more_metrics):
        if (kind := task.truth_kind) not in metrics.resolve(name).truth:
            known = ", ".join(metrics.fitting(kind))
            raise UserError(f"metric '{name}' does not fit task={task.name} ({kind}); metrics that do: {known}")


def load_model(name: str, preset: Preset, words: Words, loss: dict[str, Any] = LOSS) -> ModelConfig:
    """Resolve one model config: its YAML, the preset's `all` and `each`, the overrides; `loss` where none is named."""
    layers = _model_layers(name, preset, words)
    place, own = layers[1][0], layers[-1][1]
    if not is_shipped(*layers[0]) or (name in (words.model or ()) and name not in {*preset.models, *preset.each}):
        say_overridden(layers[0], (place, merge(layers[1:3])), own)
    layers[-1] = ("command line", _typed_wins(own, merge(layers[:-1])))
    config = ModelConfig.parse(merge([("", {"loss": loss}), *layers]), lambda loc: _place_of(layers, loc))
    return config.model_copy(update=_with_defaults(config, layers))


def _model_layers(name: str, preset: Preset, words: Words) -> list[Layer]:
    """A model's YAML, the preset's `all` (its epochs are not for models fitted in one go) and `each`, the overrides."""
    place, _ = load_preset(words)
    model, everyone = layer("model", name), dict(preset.all)
    network = model[1].get("network")
    part = network.get("name") if isinstance(network, dict) else None
    if part in parts.names("models") and getattr(parts.find("models", part), "FITTED_ONCE", False):
        everyone["training"] = {k: v for k, v in (everyone.get("training") or {}).items() if k not in EPOCHS}
    return [model, (place, everyone), (place, preset.each.get(name, {})), ("command line", split_overrides(words)[1])]


def _typed_wins(own: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Take out the least number of steps that would override the epochs that were typed."""
    typed, least = own.get("training"), (below.get("training") or {}).get("min_steps")
    if not (isinstance(typed, dict) and "epochs" in typed and "min_steps" not in typed and least):
        return own
    warnings.warn(f"training.epochs={typed['epochs']} was typed: training.min_steps={least} is left out", stacklevel=2)
    return own | {"training": typed | {"min_steps": 0}}


def is_shipped(place: str, values: dict[str, Any]) -> bool:
    """True if a model config says what it said when it came: it is neither the user's own nor edited by them."""
    known = CONFIGS / SHIPPED
    return not known.is_file() or read_json(known).get(Path(place).stem) == fingerprint(values)


def say_overridden(model: Layer, preset: Layer, typed: dict[str, Any]) -> None:
    """Say which settings of a user's own model, or of one that a preset does not name, the preset overrides."""
    changed = [
        f"{key}={value} (there {then})"
        for key, value in _leaves(preset[1])
        if (then := dict(_leaves(model[1])).get(key, value)) != value and key not in dict(_leaves(typed))
    ]
    if changed:
        warnings.warn(f"{preset[0]} overrides {model[0]}: {', '.join(changed)}; type a key to keep it", stacklevel=2)


def _leaves(values: dict[str, Any], place: str = "") -> list[tuple[str, Any]]:
    """Every key of a nested mapping by its dotted name, with its value."""
    found = []
    for key, value in values.items():
        named = f"{place}.{key}".lstrip(".")
        found += _leaves(value, named) if isinstance(value, dict) else [(named, value)]
    return found


def lacking(name: str, preset: Preset, words: Words) -> list[str]:
    """Return the typed settings of parts that this model's parts do not have, by their dotted names."""
    layers = _model_layers(name, preset, words)
    merged, own, found = merge(layers), layers[-1][1], []
    for section, kind in PARTS:
        typed, part = own.get(section), merged.get(section)
        if isinstance(typed, dict) and isinstance(part, dict) and part.get("name") in parts.names(kind):
            known = parts.find(kind, part["name"]).Params.model_fields
            found += [f"{section}.{key}" for key in typed if key != "name" and key not in known]
    return found


def without(words: Words, keys: Iterable[str]) -> Words:
    """The same words without some settings."""
    overrides = {key: dict(value) if isinstance(value, dict) else value for key, value in words.overrides.items()}
    for key in keys:
        section, _, name = key.partition(".")
        del overrides[section][name]
    return words.model_copy(update={"overrides": {key: value for key, value in overrides.items() if value != {}}})


def _with_defaults(config: ModelConfig, layers: list[Layer]) -> dict[str, Any]:
    """Fill every part's defaults in, so that a saved config says all of what was run."""
    filled = {}
    for section, kind in PARTS:
        values = getattr(config, section)
        params = parts.part_params(kind, values, _places(layers, section)).model_dump(mode="json")
        filled[section] = {"name": values["name"]} | params
    return filled


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A saved model config in today's form: keys that did not exist when it was saved hold their defaults.

    A config that today's schemas refuse is returned as it is.
    """
    try:
        parsed = ModelConfig.parse(config, "saved config")
        return parsed.model_copy(update=_with_defaults(parsed, [("saved config", config)])).model_dump(mode="json")
    except UserError:
        return config


def split_overrides(words: Words) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the dotted overrides into those of the data config and those of the model configs."""
    of_data, of_model = DataConfig.model_fields, ModelConfig.model_fields
    unknown = [key for key in words.overrides if key not in of_data and key not in of_model]
    if unknown:
        raise UserError(f"command line: unknown section '{unknown[0]}.'{nearest(unknown[0], {*of_data, *of_model})}")
    own = {key: value for key, value in words.overrides.items() if key in of_data}
    model = {key: value for key, value in words.overrides.items() if key in of_model}
    return own, model


def differences(then: Any, now: Any, place: str = "") -> list[str]:
    """Name the keys in which two nested configs differ, with both values."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return [] if then == now else [f"{place}: {then} there, {now} now"]
    keys = [*then, *(key for key in now if key not in then)]
    return [d for key in keys for d in differences(then.get(key), now.get(key), f"{place}.{key}".lstrip("."))]
