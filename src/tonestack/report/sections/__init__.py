"""The report's sections, one file each, found by name.

A section says `TITLE` and `ORDER` (sections stand in its order) and defines `blocks(material) -> list[Block]`: what it
shows, or nothing where its inputs are absent.
"""

from types import ModuleType

from tonestack.base import parts


def every() -> list[ModuleType]:
    """All sections in the order of the page."""
    found = [parts.find("sections", name) for name in parts.names("sections")]
    return sorted(found, key=lambda module: (module.ORDER, module.__name__))
