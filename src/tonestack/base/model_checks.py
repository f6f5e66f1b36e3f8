"""Files of pretrained models before a library reads them: their size, their content hash, and what a library says."""

import os
from collections.abc import Sequence
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, kept_hash

LARGEST = 8 << 30  # bytes; a larger file is none of an encoder of sound


def content(path: Path, files: Sequence[Path]) -> str:
    """Content hash of a model of one or several files; files that were not touched since are not read again."""
    if list(files) == [path]:
        return kept_hash(path)
    return fingerprint([[os.path.relpath(file, path.parent), kept_hash(file)] for file in files])


def check_size(files: Sequence[Path]) -> None:
    """Refuse files that are missing, empty or far too large, before a library reads them."""
    for file in files:
        if not file.is_file():
            fault = "is not a regular file" if file.exists() else "no such file; is the download complete?"
            raise UserError(f"{file}: {fault}")
        size = file.stat().st_size
        if not 0 < size <= LARGEST:
            raise UserError(f"{file}: {size / 1e9:.1f} GB; a model has more than nothing and at most 8 GB")


def fault(error: Exception) -> str:
    """The first line of a library's complaint, short enough for one line of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
