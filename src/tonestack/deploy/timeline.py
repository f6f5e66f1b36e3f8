"""A picture of one recording's tags over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack.base.files import atomic
from tonestack.base.pictures import new_figure
from tonestack.deploy.recordings import TaggedRecording

import numpy as np

INCHES_A_TAG = 0.32


def draw(recording: TaggedRecording, classes: Sequence[str], most: int, path: Path) -> None:
    """Write a png: one row per tag (the strongest `most`), time to the right, probability as shade."""
    rows = np.array(recording.rows)  # (W, C)
    shown = strongest(rows, most)
    figure = new_figure(11, 1.5 + INCHES_A_TAG * len(shown))
    axis = figure.subplots()
    edges = [*recording.starts, recording.starts[-1] + recording.seconds[-1]]
    mesh = axis.pcolormesh(edges, np.arange(len(shown) + 1), rows[:, shown].T, vmin=0, vmax=1, cmap="magma_r")
    axis.set_yticks(np.arange(len(shown)) + 0.5, [classes[c] for c in shown], parse_math=False)
    axis.invert_yaxis()
    axis.set_xticks(ticks(edges[-1]), [clock(x) for x in ticks(edges[-1])])
    axis.set_xlabel("time")
    axis.set_title(recording.path.name, fontsize=10, loc="left", parse_math=False)
    bar = figure.colorbar(mesh, ax=axis, pad=0.01)
    bar.set_label("probability")
    _save(figure, path)


def ticks(seconds: float) -> np.ndarray:
    """Return at most twelve round times to mark."""
    step = next((s for s in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800) if seconds <= 12 * s), 3600)
    return np.arange(0, seconds + 1e-6, step)


def strongest(rows: np.ndarray, most: int) -> np.ndarray:
    """Return the classes with the highest peaks in rows (W, C), in the order of their peaks in time."""
    peak = rows.max(axis=0)
    chosen = np.argsort(-peak, kind="stable")[:most]
    return chosen[np.argsort(rows[:, chosen].argmax(axis=0), kind="stable")]


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` under an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _save(figure: Any, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
