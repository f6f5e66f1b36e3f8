"""Pictures of speaker tasks in any folder below: detection error trade-off (`det*.png`), votes (`votes*.png`,
`match*.png`).

A text file of the same name (`det-ecapa.txt`) says in words what a picture shows.
"""

from pathlib import Path

from tonestack.report.blocks import Block, PictureBlock
from tonestack.report.material import Material

TITLE, ORDER = "Speakers", 120


def blocks(material: Material) -> list[Block]:
    """Return all of them, in the order of their paths."""
    found = material.pictures("**/det*.png", "**/votes*.png", "**/match*.png")
    return [PictureBlock.of(material.folder, path, said(path), name(material.folder, path)) for path in found]


def said(path: Path) -> str:
    """Return a picture's description if it has no text of its own."""
    det = path.name.startswith("det")
    return "Detection error trade-off: misses against false alarms." if det else "Votes for each candidate voice."


def name(folder: Path, path: Path) -> str:
    """Return the picture's path in words."""
    return " · ".join([*path.relative_to(folder).parent.parts, path.stem.replace("-", " ").replace("_", " ")])
