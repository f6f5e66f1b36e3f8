"""Plotly figures in one style. `report.js` fills in the colours of the light or dark scheme."""

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go

# mid tones: at least 3:1 against the light page and the dark one
COLOURS = ("#3b7dd8", "#d9541e", "#2a9d5c", "#a64ac9", "#b5860b", "#d6336c", "#0f8b8d", "#7a6ff0", "#8f6b3b", "#6b7785")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "pentagon", "hexagram", "triangle-down")
SEQUENTIAL, DIVERGING = "sequential", "diverging"  # a heat map's `meta`: which scale it gets
LONGEST = 28  # characters of a name on an axis


def text(name: object) -> str:
    """A name as a chart's text: Plotly reads some HTML there, so it is escaped."""
    return html.escape(str(name), quote=True)


def short(name: object) -> str:
    """A name for an axis, cut where it is long."""
    name = str(name)
    return text(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…")


def figure(height: int = 380, **layout: Any) -> go.Figure:
    """An empty figure of `height` pixels."""
    base: dict[str, Any] = {
        "template": go.layout.Template(),
        "colorway": COLOURS,
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "xanchor": "left"},
        "xaxis": {"automargin": True},
        "yaxis": {"automargin": True},
        "hovermode": "closest",
    }
    return go.Figure(layout=base | {k: base.get(k, {}) | v if isinstance(v, dict) else v for k, v in layout.items()})


def rows_height(count: int, each: int = 20, least: int = 160) -> int:
    """Return the height of a figure with one line of text per row."""
    return max(least, each * count + 90)


def heat(z: np.ndarray, rows: list[str], columns: list[str], scale: str, **trace: Any) -> go.Figure:
    """A heat map (R, C), the first row at the top."""
    size = max(260, 16 * len(rows) + 160)
    made = figure(min(size, 900), yaxis={"autorange": "reversed", "automargin": True}, xaxis={"tickangle": -60})
    made.add_heatmap(z=z, x=list(range(len(columns))), y=list(range(len(rows))), meta=scale, **trace)
    font = {"size": 12 if max(len(rows), len(columns)) <= 16 else 10}
    made.update_xaxes(tickvals=list(range(len(columns))), ticktext=[short(c) for c in columns], tickfont=font)
    made.update_yaxes(tickvals=list(range(len(rows))), ticktext=[short(r) for r in rows], tickfont=font)
    return made


def colour_and_symbol(number: int) -> tuple[str, str]:
    """A marker for the class of a number: ten colours, then another symbol."""
    return COLOURS[number % len(COLOURS)], SYMBOLS[number // len(COLOURS) % len(SYMBOLS)]
