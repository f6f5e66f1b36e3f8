"""Parts found by name: one file per part in its package, no registry to edit.

A part is a (name, params) pair such as `{name: logmel, n_mels: 64}`. Its module
`tonestack/<kind>/<name>.py` (or one folder deeper) defines `Params` (a `Section`: typed, unknown keys refused) and the
object or function that its package's contract asks for.
"""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tonestack.base.errors import UserError, nearest
from tonestack.base.section import Origin, Section

PACKAGE = Path(__file__).parents[1]

ROOMS = {  # kind -> the package of its parts, below `tonestack`
    "cleaning": "cleaning.methods",
    "encoders": "features.encoders",
    "engines": "training.engines",
    "features": "features.speech",
    "frontends": "features.frontends",
    "graphs": "deploy.graphs",
    "learners": "training.learners",
    "losses": "networks.losses",
    "metrics": "tables.metrics",
    "models": "networks.models",
    "readers": "competition.readers",
    "searches": "ensemble.searches",
    "sections": "report.sections",
    "stackers": "ensemble.stackers",
    "tasks": "tasks",
    "voices": "competition.demo.voices",
}
ALIASES = {"models": {"judge": "siamese"}, "metrics": {"macro_auc": "auc"}}  # names that configs use -> the file
NOUNS = {"losses": "loss", "searches": "blend search", "cleaning": "cleaning method"}


def names(kind: str) -> list[str]:
    """Names of all parts of a kind (`frontends`, `models`, `losses`, `metrics`, `tasks`, `readers`, ...)."""
    return sorted(modules(kind))


def modules(kind: str) -> dict[str, str]:
    """The module of every part of a kind, by the part's name: files of its package and of packages right below that."""
    package = PACKAGE / ROOMS[kind].replace(".", "/")
    files = [file for pattern in ("*.py", "*/*.py") for file in package.glob(pattern) if not file.stem.startswith("_")]
    return {file.stem: ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files}


@cache
def find(kind: str, name: str) -> ModuleType:
    """Import the module of one part; a name that does not exist is refused with what there is."""
    known = modules(kind)
    name = ALIASES.get(kind, {}).get(name, name)
    if name not in known:
        noun = NOUNS.get(kind, kind.removesuffix("s"))
        raise UserError(f"no {noun} is called '{name}'{nearest(name, sorted(known))}")
    return importlib.import_module(known[name])


def part_params(kind: str, section: dict[str, Any], origin: Origin) -> Section:
    """Validate a part's `{name, **params}` by its module's own `Params`.

    origin: the source that errors name, or a function from a key's path to it; see `Section.parse`.
    """

    def where(loc: tuple[str, ...]) -> str:
        return origin(loc) if callable(origin) else origin

    name = section.get("name")
    if not isinstance(name, str):
        raise UserError(f"{where(('name',))}: 'name' is {name!r}; there is: {', '.join(names(kind))}")
    module = find(kind, name)
    params = {key: value for key, value in section.items() if key != "name"}
    parsed: Section = module.Params.parse(params, lambda loc: f"{where(loc)} ({name})")
    return parsed
