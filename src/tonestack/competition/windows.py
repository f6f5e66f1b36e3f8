"""Windows of soundscapes: the rows of competitions that ask what can be heard in every few seconds of a recording."""

from collections.abc import Sequence
from pathlib import Path

from tonestack.features.audio import BadAudio, PassingFault, length
from tonestack.features.recording_files import walk

import numpy as np
import pandas as pd

EDGE = 0.5  # share of a window that a recording's rest must have to be one


def files_in(root: Path, folder: str) -> list[str]:
    """Recordings right in `root`/`folder`, as paths below the root, sorted; none where there is no such folder."""
    if not (root / folder).is_dir():
        return []
    found = [path for _, files in walk(root / folder) for path in files]
    return sorted(path.relative_to(root).as_posix() for path in found)


def of_files(root: Path, paths: Sequence[str], seconds: float) -> pd.DataFrame:
    """Return every window of some recordings: `path, stem, start, end`, seconds; windows are `seconds` long.

    The rest at the end of a recording is a window if it is at least half as long as one. A recording whose length
    cannot be read counts as long as most others, so that its rows are there.
    """
    lengths = np.array([_length(root, path) for path in paths], dtype=float)
    known = lengths[~np.isnan(lengths)]
    usual = pd.Series(known.round(3)).mode().iloc[0] if len(known) else seconds
    lengths = np.where(np.isnan(lengths), usual, lengths)
    counts = np.maximum(1, np.floor(lengths / seconds + EDGE)).astype(int)
    row = np.repeat(np.arange(len(paths)), counts)
    number = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
    path = np.array(paths, dtype=object)[row]
    stem = np.array([Path(name).stem for name in paths], dtype=object)[row]
    start = number * seconds
    return pd.DataFrame({"path": path, "stem": stem, "start": start, "end": start + seconds})


def _length(root: Path, path: str) -> float:
    try:
        return length(root / path, root)
    except (BadAudio, PassingFault):
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
