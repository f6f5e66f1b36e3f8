"""docs/settings.md: every key of a data config, a model config and of all parts, read off the schemas and presets."""

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from tonestack.base import parts
from tonestack.base.section import Section
from tonestack.config import layers
from tonestack.settings.data_config import DataConfig
from tonestack.settings.model_config import ModelConfig, Preset
from tonestack.settings.words import Words
from tonestack.studies.published import StudyConfig
from tonestack.studies.tuning import Range, TuneConfig

from pydantic.fields import FieldInfo

INTRO = """# Settings

Every key that a config or the command line may set. `./run.sh settings` makes this page from the schemas; a test fails
where it is out of date. A key is written `section.key=value` on the command line. An unknown key or a value out of
range is refused.

The last column gives what the presets of `configs/preset/` set: for all models, or for single models by name.
"""
PARTS = {  # kind -> heading, prefix of its keys in presets, text
    "readers": ("Readers", "reader:{name}", "The data config's `reader`: `{name: NAME, KEY: VALUE}`."),
    "cleaning": ("Cleaning methods", "clean.settings.{name}", "Parameters of `clean.settings.NAME` in a data config."),
    "frontends": ("Frontends", "frontend:{name}", "The model config's `frontend`: `{name: NAME, KEY: VALUE}`."),
    "features": ("Speech features", "", "Entries of `frontend.features` of the frontends `story` and `picture`."),
    "models": ("Models", "network:{name}", "The model config's `network`: `{name: NAME, KEY: VALUE}`."),
    "losses": ("Losses", "loss:{name}", "The model config's `loss`: `{name: NAME, KEY: VALUE}`."),
}
PLAIN = {  # kinds without settings of their own -> where one is named
    "tasks": "`task`",
    "metrics": "`metric`, `more_metrics`",
    "searches": "`blend.searches`",
    "stackers": "`stack.stackers`",
    "engines": "`engine=`",
}
BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "at least {} values"}

KINDS = {"reader": "readers", "frontend": "frontends", "network": "models", "loss": "losses"}  # section -> parts

Changes = dict[str, dict[str, dict[str, list[str]]]]  # key -> value as text -> preset -> models, none: all


class Row(NamedTuple):
    """One key: its dotted name and its field."""

    key: str
    field: FieldInfo


def text() -> str:
    """Return the whole page."""
    changes = preset_changes()
    blocks = [INTRO, "## Words of every call", table(rows(Words), {})]
    for title, schema in (("Data config", DataConfig), ("Model config", ModelConfig)):
        blocks += [f"## {title}", f"`configs/{title.split()[0].lower()}/<name>.yaml`.", *sections(schema, changes)]
    for kind, (title, where, about) in PARTS.items():
        blocks += [f"## {title}", about, *part_tables(kind, where, changes)]
    blocks += ["## Parts without settings", plain_parts(), "## Presets, tuning, studies", *other_files()]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def rows(schema: type[Section], prefix: str = "", nested: bool = True) -> Iterator[Row]:
    """Yield the keys of a schema, those of its inner sections with a dot; without `nested`, leave these out."""
    for name, field in schema.model_fields.items():
        inner = section_of(field.annotation)
        if inner is None:
            yield Row(prefix + name, field)
        elif nested:
            yield from rows(inner, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section that a field holds, if it holds one."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((o for o in options if inspect.isclass(o) and issubclass(o, Section)), None)


def sections(schema: type[Section], changes: Changes) -> Iterator[str]:
    """Yield a table of a config's own keys, then a heading, a line and a table per section."""
    yield table(rows(schema, nested=False), changes)
    for name, field in schema.model_fields.items():
        inner = section_of(field.annotation)
        if inner:
            yield f"### `{name}`"
            yield cell(inspect.getdoc(inner) or "")
            yield table(rows(inner, f"{name}."), changes)


def part_tables(kind: str, where: str, changes: Changes) -> Iterator[str]:
    """Yield a heading, a line and a table per part of a kind."""
    for name in parts.names(kind):
        module = parts.find(kind, name)
        yield f"### {kind}: `{name}`"
        yield cell((inspect.getdoc(module) or "").partition("\n\n")[0])
        found = list(rows(module.Params)) if hasattr(module, "Params") else []
        own = {row.key: of_part(changes, where, name, row.key) for row in found}
        yield table(iter(found), own) if found else "No settings."


def of_part(changes: Changes, where: str, name: str, key: str) -> dict[str, dict[str, list[str]]]:
    """Return the changes of a part's key: those for all parts of its section, then those for it alone."""
    both = [changes.get(f"{where.format(name=part)}.{key}", {}) for part in ("", name)]
    return {value: both[0].get(value, {}) | both[1].get(value, {}) for value in dict.fromkeys([*both[0], *both[1]])}


def plain_parts() -> str:
    """Return the names of the parts that have no settings."""
    lines = [f"| {kind} | {key} | {', '.join(parts.names(kind))} |" for kind, key in PLAIN.items()]
    return "\n".join(["| kind | named by | names |", "|---|---|---|", *lines])


def other_files() -> Iterator[str]:
    """Yield the tables of the other YAML files."""
    known = {"preset": (Preset,), "tune": (TuneConfig, Range), "study": (StudyConfig,)}
    for folder, schemas in known.items():
        yield f"### `configs/{folder}/<name>.yaml`"
        for schema in schemas:
            yield cell(inspect.getdoc(schema) or "")
            yield table(rows(schema), {})


def table(found: Iterator[Row], changes: Changes) -> str:
    """Return the Markdown table of some keys."""
    lines = ["| key | type | default | range | meaning | presets |", "|---|---|---|---|---|---|"]
    for key, field in found:
        columns = (typed(field.annotation), default(field), allowed(field), field.description or "")
        lines.append(f"| `{key}` | {' | '.join(map(cell, columns))} | {cell(said(changes.get(key, {})))} |")
    return "\n".join(lines)


def typed(annotation: Any) -> str:
    """Return a type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return typed(inner[0])
    if origin is Literal:
        return " / ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join("none" if option is NoneType else typed(option) for option in inner)
    if origin is tuple:
        return f"list of {typed(inner[0])}" if inner[-1] is Ellipsis else ", ".join(map(typed, inner))
    if origin is list:
        return f"list of {typed(inner[0])}"
    if origin is dict:
        return "mapping" if inner[1] is Any else f"mapping to {typed(inner[1])}"
    return {"str": "text", "bool": "true / false", "NoneType": "none", "Any": "any"}.get(
        annotation.__name__, annotation.__name__
    )


def default(field: FieldInfo) -> str:
    """Return a key's default as a person types it."""
    if field.is_required():
        return "required"
    return shown(field.get_default(call_default_factory=True)) or "empty"


def shown(value: Any) -> str:
    """Return a value as a person types it."""
    if isinstance(value, Section):
        value = value.model_dump(mode="json")
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")


def allowed(field: FieldInfo) -> str:
    """Return a key's bounds."""
    limits = ((m, name, form) for m in field.metadata for name, form in BOUNDS.items())
    bounds = [form.format(getattr(m, name)) for m, name, form in limits if hasattr(m, name)]
    multiple = [f"a multiple of {m.multiple_of}" for m in field.metadata if hasattr(m, "multiple_of")]
    return ", ".join(bounds + multiple)


def said(changed: dict[str, dict[str, list[str]]]) -> str:
    """Return which presets set a key to which value, with the models that they set it for (none: all)."""
    values = []
    for value, who in changed.items():
        presets = (f"`{preset}`" + f" ({', '.join(models)})" * bool(models) for preset, models in who.items())
        values.append(f"{value}: {', '.join(presets)}")
    return "; ".join(values)


def cell(value: str) -> str:
    """Return text that may stand in a cell of a Markdown table."""
    return re.sub(r"\s+", " ", value).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def preset_changes() -> Changes:
    """Return what every preset changes, by key; a part's key is `<section>:<name of the part>.<key>`."""
    changes: Changes = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    folder = layers.CONFIGS / "preset"
    for path in sorted(folder.rglob("*.yaml")):
        preset = Preset.parse(layers.read_yaml(path), str(path))
        name = path.relative_to(folder).with_suffix("").as_posix()
        collect(preset, name, changes)
        if preset.light:
            collect(Preset.parse({"models": preset.models} | preset.light, str(path)), f"{name} light=true", changes)
    return changes


def collect(preset: Preset, name: str, changes: Changes) -> None:
    """Add what the preset called `name` changes."""
    for model, values in [("", preset.data), ("", preset.all), *preset.each.items()]:
        for key, value in leaves(values, layers.layer("model", model)[1] if model else {}):
            who = changes[key][shown(value)][name]
            who += [model] if model else []


def leaves(values: dict[str, Any], config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield changed keys with dots, and their values; a section that names a part carries the part's name."""
    for section, value in values.items():
        prefix = f"{section}."
        if section in KINDS:
            name = value.get("name", config.get(section, {}).get("name", ""))
            prefix = f"{section}:{parts.ALIASES.get(KINDS[section], {}).get(name, name)}."
        yield from flat(value, prefix) if isinstance(value, dict) else [(section, value)]


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def undescribed() -> list[str]:
    """Return the keys of the page that have no description."""
    schemas: list[type[Section]] = [Words, DataConfig, ModelConfig, Preset, TuneConfig, Range, StudyConfig]
    modules = [parts.find(kind, name) for kind in PARTS for name in parts.names(kind)]
    schemas += [module.Params for module in modules if hasattr(module, "Params")]
    return [f"{s.__module__}: {row.key}" for s in schemas for row in rows(s) if not row.field.description]


def path() -> Path:
    """Return the page's file."""
    return layers.CONFIGS.parent / "docs" / "settings.md"
