"""The likeliest reason why a recording is not where a csv says: another suffix or case, another folder."""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from tonestack.features.recording_files import is_recording

MOST = 20_000  # entries of a folder that are looked through


def why(root: Path, path: str) -> str:
    """Say where a recording was looked for, and what is there instead."""
    folder, name = (root / path).parent, PurePosixPath(path).name
    return f"looked for {root / path}" + (_beside(folder, name) or _elsewhere(root, path) or _emptiness(root, folder))


def _beside(folder: Path, name: str) -> str:
    """A file of the same folder that differs in case or in its suffix."""
    there = _names(folder)
    stem = PurePosixPath(name).stem.casefold()
    for other in there:
        if other != name and unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name):
            return "; it is there in another Unicode form (é as one sign, and as two): rename it, or write it so"
        if other.casefold() == name.casefold():
            return f"; there is '{other}': upper and lower case differ"
    alike = [other for other in there if PurePosixPath(other).stem.casefold() in (stem, name.casefold())]
    alike = [other for other in alike if is_recording(Path(other))] or alike
    return f"; there is '{alike[0]}': the suffix differs{_setting(alike[0], name)}" if alike else ""


def _setting(there: str, name: str) -> str:
    """The setting of `data=table` that puts the suffix behind a bare name."""
    suffix = PurePosixPath(there).suffix
    return f" (data=table: reader.train_suffix={suffix}, reader.test_suffix={suffix})" if there == name + suffix else ""


def _elsewhere(root: Path, path: str) -> str:
    """The same name in a folder that is doubled, missing from the path, or one too many in it."""
    parts = PurePosixPath(path).parts
    places = [root.joinpath(*parts[:-1], *parts[-2:])] if len(parts) > 1 else []
    places += [root.joinpath(*parts[at:]) for at in range(1, len(parts))]
    places += [root / folder / rest for folder in _names(root) for rest in (path, parts[-1])]
    places.append(root.parent / path)
    found = next((place for place in places if place.is_file()), None)
    return f"; it lies at {found}: check root= and the reader's folder" if found else ""


def _emptiness(root: Path, folder: Path) -> str:
    while not folder.is_dir() and folder != root and folder != folder.parent:
        folder = folder.parent
        if folder.is_dir():
            return f"; {folder} has no such folder, only {', '.join(_names(folder)[:5]) or 'nothing'}"
    return f"; {folder} holds {len(_names(folder)):,} other files"


def _names(folder: Path) -> list[str]:
    """Names in a folder, sorted, without hidden ones; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry, _ in zip(entries, range(MOST), strict=False)]
    except OSError:
        return []
    return sorted(name for name in found if not name.startswith("."))
