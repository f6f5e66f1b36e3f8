"""The report's sections, one file each, found by name.

A section defines `TITLE`, `ORDER` (its position on the page) and `blocks(material) -> list[Block]`, empty where its
inputs are absent.
"""

from types import ModuleType

from tonestack.base import parts


def every() -> list[ModuleType]:
    """All sections in the order of the page."""
    found = [parts.find("sections", name) for name in parts.names("sections")]
    return sorted(found, key=lambda module: (module.ORDER, module.__name__))
