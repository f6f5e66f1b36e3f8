"""The clips of a competition and a hash of each file: features are up to date while neither changes."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, write_parquet
from tonestack.tables.competition import Competition

import joblib
import pandas as pd
import pyarrow as pa


def clip_list(competition: Competition) -> pd.DataFrame:
    """Return clip_id, path, part; a clip of both tables counts as train."""
    train = competition.train[["clip_id", "path"]].assign(part="train")
    test = competition.test.reindex(columns=["clip_id", "path"]).assign(part="test")
    clips = pd.concat([train, test]).drop_duplicates(["clip_id", "path"]).reset_index(drop=True)
    twice = clips[clips.clip_id.duplicated()]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(f"clip '{row.clip_id}' names two files, one is '{row.path}'; give every clip one file")
    return clips


def known_contents(cache: Path) -> dict[tuple[str, int, int], str]:
    """Content hashes of earlier calls, by path, size and time of change."""
    with suppress(OSError, ValueError, pa.ArrowException):  # absent or damaged: every file is read again
        old = pd.read_parquet(cache.absolute() / "files.parquet")
        return dict(zip(zip(old["path"], old["size"], old["mtime_ns"], strict=True), old["hash"], strict=True))
    return {}


def contents(clips: pd.DataFrame, root: Path, cache: Path, n_jobs: int) -> list[str]:
    """Return a content hash for every clip; files of the same path, size and time as last time are not read again."""
    memory, known = cache / "files.parquet", known_contents(cache)
    keys = [stat_key(os.path.join(root, path)) for path in clips.path]
    new = [key for key in dict.fromkeys(keys) if key not in known and key[1] >= 0]
    if new:
        hashes = joblib.Parallel(n_jobs, prefer="threads", batch_size=64)(joblib.delayed(_hash)(key[0]) for key in new)
        known |= dict(zip(new, hashes, strict=True))
        rows = [(*key, value) for key, value in known.items()]
        write_parquet(memory, pd.DataFrame(rows, columns=["path", "size", "mtime_ns", "hash"]))
    return [known.get(key, "unreadable") for key in keys]


def stat_key(path: str) -> tuple[str, int, int]:
    """Return (path, size, mtime_ns); size -1 if missing or not a regular file (never opened: a FIFO blocks)."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path, -1, 0
    return (path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (path, -1, 0)


def _hash(path: str) -> str:
    try:
        return file_hash(Path(path))
    except OSError:
        return "unreadable"
