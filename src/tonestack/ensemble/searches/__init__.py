"""Searches for a blend, one file each, found by name.

A search file says `COMPLEXITY` (how much it chooses: ties go to the smaller) and defines
`fit(problem, params, seed, journal) -> Blend`; `journal` is a file it may resume from, or None.
"""

import importlib
from pathlib import Path
from types import ModuleType

from tonestack.errors import UserError, nearest


def names() -> list[str]:
    """Names of all searches."""
    return sorted(f.stem for f in Path(__file__).parent.glob("[!_]*.py"))


def find(name: str) -> ModuleType:
    """Import one search; a name that does not exist is refused with what there is."""
    if name not in names():
        raise UserError(f"no blend search is called '{name}'{nearest(name, names())}")
    return importlib.import_module(f"tonestack.ensemble.searches.{name}")
