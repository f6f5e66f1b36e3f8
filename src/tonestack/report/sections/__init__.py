"""The report's sections, one file each, found by name.

A section says `TITLE` and `PLACE` (sections stand in its order) and defines `blocks(material) -> list[Block]`: what it
shows, or nothing where its inputs are absent.
"""

import importlib
from pathlib import Path
from types import ModuleType


def names() -> list[str]:
    """Names of all sections."""
    return sorted(f.stem for f in Path(__file__).parent.glob("[!_]*.py"))


def every() -> list[ModuleType]:
    """All sections in the order of the page."""
    found = [importlib.import_module(f"{__name__}.{name}") for name in names()]
    return sorted(found, key=lambda module: (module.PLACE, module.__name__))
