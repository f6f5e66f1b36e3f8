"""The clips of a competition and a hash of each file: features are up to date while neither changes."""

import hashlib
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import file_state, fingerprint, write_parquet
from tonestack.features.audio import PassingFault, is_passing, leads_out
from tonestack.features.sound_files import open_regular
from tonestack.tables.competition import TIMES, Competition

import joblib
import pandas as pd
import pyarrow as pa

BLOCK = 1 << 20  # bytes hashed at once
KEY = ["path", "size", "mtime_ns", "ctime_ns", "inode"]
StatKey = tuple[str, int, int, int, int]
UNREADABLE, OUTSIDE = "unreadable", "outside"  # in place of a hash: never remembered
SLOW = "slow "  # before what the system says of a file that took too long to read


def clip_list(competition: Competition) -> pd.DataFrame:
    """Return clip_id, path, part, start, end; a clip of several tables counts as the first, train before test."""
    clips = competition.clips
    twice = clips[clips.clip_id.duplicated()]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(f"clip '{row.clip_id}' names two files or pieces, one in '{row.path}'; give every clip one")
    return clips


def recordings_of(clips: pd.DataFrame) -> pd.DataFrame:
    """Return one row per file of a clip list, in order: that of its first clip, train if any of its clips is."""
    first = clips.drop_duplicates("path")
    if len(first) == len(clips):
        return clips
    train = set(clips.loc[clips["part"] == "train", "path"])
    return first.assign(part=first["part"].where(~first["path"].isin(train), "train")).reset_index(drop=True)


def listed(clips: pd.DataFrame) -> list[list[object]]:
    """What features depend on, clip by clip: id, part and content, and the place of a piece in its file."""
    columns = ["clip_id", "part", "content"]
    if clips[TIMES].notna().any(axis=None):
        columns += TIMES
    return clips[columns].astype(object).where(clips[columns].notna(), "").to_numpy().tolist()


def known_contents(cache: Path) -> dict[StatKey, str]:
    """Content hashes of earlier calls, by path, size, times of change and inode."""
    with suppress(OSError, ValueError, KeyError, pa.ArrowException):  # absent or damaged: every file is read again
        old = pd.read_parquet(cache.absolute() / "files.parquet")
        return dict(zip(zip(*(old[name] for name in KEY), strict=True), old["hash"], strict=True))
    return {}


def contents(clips: pd.DataFrame, root: Path, cache: Path, n_jobs: int, minutes: float = 10.0) -> list[str]:
    """Return a content hash for every clip; files of the same path, size, times and inode are not read again.

    A copy of another recording may have the size and the time of the one that it replaces, but not its inode or the
    time when they were set. A link out of the root is refused unread, and by that, not by what it leads to.
    minutes: a file that takes longer to read is known by what the system says of it, and left to its decoder, which has
    a limit of its own.
    """
    memory, known = cache / "files.parquet", known_contents(cache)
    keys = [stat_key(os.path.join(root, path)) for path in clips.path]
    outside = [leads_out(key[0], root) for key in keys]
    wanted = dict.fromkeys(key for key, out in zip(keys, outside, strict=True) if not out)
    new = [key for key in wanted if key not in known and key[1] >= 0]
    if new:
        calls = (joblib.delayed(_hash)(key[0], 60 * minutes) for key in new)
        hashes = joblib.Parallel(n_jobs, prefer="threads", batch_size=64)(calls)
        known |= dict(zip(new, hashes, strict=True))
        rows = [(*key, value) for key, value in known.items() if not value.startswith((UNREADABLE, SLOW))]
        write_parquet(memory, pd.DataFrame(rows, columns=[*KEY, "hash"]))
    return [OUTSIDE if out else known.get(key, UNREADABLE) for key, out in zip(keys, outside, strict=True)]


def stat_key(path: str) -> StatKey:
    """Return `KEY` of a file; size -1 if missing or not a regular file (never opened: a FIFO blocks)."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path, -1, 0, 0, 0
    if not stat.S_ISREG(status.st_mode):
        return path, -1, 0, 0, 0
    return path, *file_state(status)


def _hash(path: str, seconds: float) -> str:
    digest, end = hashlib.blake2b(digest_size=16), time.monotonic() + seconds  # as `file_hash`
    try:
        with open(open_regular(path), "rb", buffering=0) as handle:
            while block := handle.read(BLOCK):
                digest.update(block)
                if time.monotonic() > end:
                    return SLOW + fingerprint(file_state(os.fstat(handle.fileno())))
        return digest.hexdigest()
    except (OSError, MemoryError) as error:
        if is_passing(error):
            raise PassingFault.of(path, error) from None
        return UNREADABLE
