"""Blocks of which sections are made; `templates/blocks.html` has a macro per kind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Union
from urllib.parse import quote

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Code:
    """Verbatim text in a fixed-width font."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, its sort key, a mark behind it, and the numbers of the clips that it plays."""

    text: str
    value: float | str | None = None
    mark: str = ""
    clips: tuple[int, ...] = ()

    @classmethod
    def of(cls, value: Any) -> "Cell":
        """Numbers get four digits after the point, or commas between thousands; missing values are blank."""
        if isinstance(value, Cell):
            return value
        if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
            return cls("")
        if isinstance(value, bool | np.bool_):
            return cls("yes" if value else "no")
        if isinstance(value, int | np.integer):
            return cls(f"{value:,}", float(value))
        if isinstance(value, float | np.floating):
            return cls(f"{value:.4f}", float(value))
        return cls(str(value), str(value))

    @property
    def numeric(self) -> bool:
        """True if the cell holds a number."""
        return isinstance(self.value, float)


@dataclass(frozen=True)
class TableBlock:
    """A table; a click on a column's head sorts it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]

    @classmethod
    def of(cls, caption: str, frame: pd.DataFrame) -> "TableBlock":
        """A data frame, its cells as `Cell.of` writes them; a column that is blank throughout is left out."""
        cells = {str(name): [Cell.of(value) for value in frame[name]] for name in frame}
        kept = {name: column for name, column in cells.items() if any(c.text or c.clips for c in column)}
        return cls(caption, tuple(kept), [list(row) for row in zip(*kept.values(), strict=True)])

    def numeric(self, column: int) -> bool:
        """True if a column holds only numbers."""
        filled = [row[column] for row in self.rows if row[column].text]
        return bool(filled) and all(cell.numeric for cell in filled)


@dataclass(frozen=True)
class Chart:
    """A Plotly figure. alt: its description in words. Points' `customdata` are numbers of clips that a click plays."""

    kind: ClassVar[str] = "chart"
    figure: Any
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class PictureBlock:
    """An image of the report's folder. source: its address, relative to the page."""

    kind: ClassVar[str] = "picture"
    source: str
    alt: str
    caption: str = ""

    @classmethod
    def of(cls, folder: Path, path: Path, alt: str, caption: str = "") -> "PictureBlock":
        """A file below the report's folder. Its description is `alt`, or `<name>.txt` beside it."""
        said = path.with_suffix(".txt")
        alt = said.read_text(encoding="utf-8").strip() if said.is_file() else alt
        return cls(quote(path.relative_to(folder).as_posix()), alt, caption)


@dataclass(frozen=True)
class More:
    """Blocks that are folded away under a title."""

    kind: ClassVar[str] = "more"
    title: str
    blocks: "Sequence[Block]"


@dataclass(frozen=True)
class Tabs:
    """Blocks shown one at a time."""

    kind: ClassVar[str] = "tabs"
    label: str
    tabs: "dict[str, Block]"


@dataclass(frozen=True)
class Finder:
    """A field that finds clips by name or label and plays them."""

    kind: ClassVar[str] = "finder"


Block = Union[Text, Code, TableBlock, Chart, PictureBlock, More, Tabs, Finder]  # noqa: UP007  (two of them name it before it is)


@dataclass(frozen=True)
class PageSection:
    """A finished section. key: its file's name, also its address on the page."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)
