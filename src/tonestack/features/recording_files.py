"""Files that count as recordings, by their suffix, one walk over a folder of them, and what the walk leaves out."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.features import ffmpeg

import soundfile

# RAW has no header, so that its rate and sample type would be guesses.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {
    ".aif", ".aifc", ".oga", ".opus", ".snd",
}  # fmt: skip

# Recordings that libsndfile does not read, but ffmpeg (all but .raw).
UNREAD = {".m4a", ".aac", ".mp4", ".mov", ".3gp", ".3g2", ".amr", ".wma", ".wmv", ".webm", ".mka", ".mkv"}
UNREAD |= {".avi", ".ogv", ".spx", ".ape", ".wv", ".raw"}


def is_recording(path: Path) -> bool:
    """True if the name has the suffix of a recording that can be read here."""
    return path.suffix.lower() in (SUFFIXES | (UNREAD - {".raw"}) if ffmpeg.installed() else SUFFIXES)


def walk(folder: Path) -> Iterator[tuple[list[Path], list[Path]]]:
    """Yield, for `folder` and each folder below, its folders (sorted) and its recordings; hidden ones are left out.

    A folder that cannot be read is a `UserError`: its recordings would be lost without a word.
    """
    for here, folders, names in _shown(folder):
        files = (Path(here) / name for name in names if not name.startswith("."))
        yield [Path(here) / name for name in folders], [file for file in files if is_recording(file)]


def left_out(folder: Path) -> str:
    """Say in one line which files below `folder` are left out for their suffix; empty if none is."""
    files = [Path(here) / name for here, _, names in _shown(folder) for name in names if not name.startswith(".")]
    others = sorted(file for file in files if not is_recording(file))
    if not others:
        return ""
    counts = Counter(file.suffix.lower() or "no suffix" for file in others)
    listed = ", ".join(f"{suffix} ({count})" for suffix, count in counts.most_common(5))
    said = f"{folder}: {len(others)} files are left out for their suffix: {listed}; first {others[0]}"
    if counts.keys() & UNREAD:
        said += "; recordings among them are read where ffmpeg is installed, or convert them: ffmpeg -i FILE FILE.wav"
    return said


def _shown(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for here, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield here, folders, names


def _refuse(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):  # no such folder is an empty one
        return
    raise UserError(f"{error.filename}: the folder cannot be read ({error.strerror}); make it readable or remove it")
