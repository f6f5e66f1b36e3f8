"""Windows of soundscapes: the rows of competitions that ask what can be heard in every few seconds of a recording."""

from collections.abc import Sequence
from pathlib import Path

from tonestack.features.audio import BadAudio
from tonestack.features.pieces import spans
from tonestack.features.recording_files import walk
from tonestack.features.watched import length

import numpy as np
import pandas as pd


def files_in(root: Path, folder: str) -> list[str]:
    """Recordings in `root`/`folder` and below, as paths below the root, sorted; none where there is no such folder."""
    if not (root / folder).is_dir():
        return []
    found = [path for _, files in walk(root / folder) for path in files]
    return sorted(path.relative_to(root).as_posix() for path in found)


def lengths(root: Path, paths: Sequence[str]) -> pd.Series:
    """Return the seconds of recordings by path, NaN where a file is missing or cannot be read."""
    return pd.Series([_length(root, path) for path in paths], index=list(paths), dtype=float)


def of_files(root: Path, paths: Sequence[str], seconds: float) -> pd.DataFrame:
    """Return every window of some recordings: `path, stem, start, end`, seconds; windows are `seconds` long."""
    return of_lengths(lengths(root, paths), seconds)


def of_lengths(known: pd.Series, seconds: float) -> pd.DataFrame:
    """Return every window of recordings of known `lengths`: `path, stem, start, end`.

    The rest at the end of a recording is a window if it is at least half as long as one. A recording whose length
    cannot be read counts as long as most others, so that its rows are there.
    """
    usual = known.dropna().round(3).mode()
    row, start = spans(known.fillna(usual.iloc[0] if len(usual) else seconds).to_numpy(), seconds)
    path = known.index.to_numpy(dtype=object)[row]
    stem = np.array([Path(name).stem for name in known.index], dtype=object)[row]
    return pd.DataFrame({"path": path, "stem": stem, "start": start, "end": start + seconds})


def _length(root: Path, path: str) -> float:
    try:
        return length(root / path, root)
    except BadAudio:
        return float("nan")


def number(value: float) -> str:
    """A window's second as rows name it: `15`, `7.5`."""
    return f"{value:g}"


def seconds_of(text: str) -> float | None:
    """Return the seconds of `75`, `75.5`, `00:01:15` or `01:15`; None if the text is no time."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        return None
    if not 1 <= len(parts) <= 3 or any(part < 0 or part != part or part == float("inf") for part in parts):
        return None
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))
