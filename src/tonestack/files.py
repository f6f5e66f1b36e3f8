"""Files that are whole or absent: atomic writes, content hashes, safe paths, inert csv cells."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from tonestack.errors import UserError

UMASK = os.umask(0)
os.umask(UMASK)

FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how a cell starts that is run as a formula, guarded or not


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)  # some writers make private files
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a json file atomically: indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, default=_plain, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a json file; a damaged one is a `UserError` naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid json ({error}); delete it and run again") from None


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a parquet table atomically, without the pandas index."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a csv atomically (LF line ends, no index)."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one numpy array atomically (npy, no pickle)."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, array, allow_pickle=False)


def inert(text: str) -> str:
    """Guard a csv cell that a spreadsheet would take for a formula with an apostrophe; `uninert` takes it off."""
    return "'" + text if FORMULA.match(text) else text


def uninert(text: str) -> str:
    """Take the apostrophe off again: `uninert(inert(text)) == text` whatever the text."""
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go into json")


def fingerprint(value: Any) -> str:
    """Return a short content hash (16 hex digits) of any json-like value, independent of key order."""
    text = json.dumps(value, sort_keys=True, default=_plain, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_hash(path: Path) -> str:
    """Return the content hash (32 hex digits) of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def check_clip_name(name: str, where: str) -> str:
    """Refuse a clip name that could leave its folder: absolute, `..`, NUL, drive or back slash."""
    parts = PurePosixPath(name).parts
    bad = (
        not name
        or "\0" in name
        or "\\" in name
        or name.startswith("/")
        or ".." in parts
        or PureWindowsPath(name).drive != ""
    )
    if bad:
        raise UserError(f"{where}: file name {name!r} leaves its folder; give a plain name below the audio folder")
    return name


def inside(root: Path, path: Path) -> bool:
    """Tell whether `path`, links followed, lies below `root`, links followed."""
    return path.resolve().is_relative_to(root.resolve())
