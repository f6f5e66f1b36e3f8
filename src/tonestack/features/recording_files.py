"""Files that count as recordings, by their suffix, and one walk over a folder of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import soundfile

# RAW has no header, so that its rate and sample type would be guesses.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {
    ".aif", ".aifc", ".oga", ".opus", ".snd",
}  # fmt: skip


def is_recording(path: Path) -> bool:
    """True if the name has the suffix of a recording."""
    return path.suffix.lower() in SUFFIXES


def walk(folder: Path) -> Iterator[tuple[list[Path], list[Path]]]:
    """Yield, for `folder` and each folder below, its folders (sorted) and its recordings; hidden ones are left out."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = (Path(here) / name for name in names if not name.startswith("."))
        yield [Path(here) / name for name in folders], [file for file in files if is_recording(file)]
