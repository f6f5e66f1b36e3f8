"""Reading and writing of files: atomic writes, locks, content hashes, checked paths."""

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.text import check_text, first_line, inert, uninert

import numpy as np
import pandas as pd
import yaml

UMASK = os.umask(0)
os.umask(UMASK)


def _host() -> str:
    """Short hash of the machine and, in a container, of its own numbers of processes: two may have one name."""
    known = platform.node()
    with suppress(OSError):
        known += Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
        known += str(os.stat("/proc/self/ns/pid").st_ino)
    return hashlib.blake2b(known.encode(), digest_size=3).hexdigest()


HOST = _host()
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{6})-(\d+)\.tmp")
FORGOTTEN = 24 * 3600.0  # seconds after which a temporary file of another machine is nobody's any more
claims: dict[Path, int] = {}  # held by this process, how many times over


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` with the machine and the process that write it."""
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}.tmp")


def sweep(folders: Iterable[Path]) -> list[Path]:
    """Remove the temporary files that killed processes left in or below `folders`; return them."""
    found = [Path(here) / name for folder in folders for here, _, names in os.walk(folder) for name in names]
    stale = [path for path in found if _is_stale(path)]
    for path in stale:
        with suppress(OSError):  # gone meanwhile, or in a folder that cannot be written
            path.unlink()
    return stale


def _is_stale(path: Path) -> bool:
    written_by = TEMPORARY.fullmatch(path.name)
    if written_by is None:
        return False
    with suppress(OSError):
        if written_by[1] == HOST:  # whatever its date: the clock may have been set meanwhile
            return not _lives(int(written_by[2]))
        return time.time() - path.stat().st_mtime > FORGOTTEN
    return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@contextmanager
def claimed(path: Path, wait: str | None = None) -> Iterator[bool]:
    """Hold the lock file `path`; yield True if this process has it. The system frees it when the process ends.

    wait: message while another process has it, "" to wait in silence; without one, False is yielded at once. A process
    may claim a lock again that it holds. The last holder removes the file.
    """
    path = path.absolute()
    handle = None if path in claims else _lock(path, wait)
    if handle is None and path not in claims:
        yield False
        return
    claims[path] = claims.get(path, 0) + 1
    try:
        yield True
    finally:
        claims[path] -= 1
        if claims[path] == 0:
            del claims[path]
        if handle is not None:
            path.unlink(missing_ok=True)  # while it is held: nobody else can have claimed this file
            os.close(handle)


def _lock(path: Path, wait: str | None) -> int | None:
    """Lock a file; return its descriptor, or None if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                os.close(handle)
                return None
            if wait:
                print(f"{wait}; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            os.close(handle)
            raise UserError(
                f"{path.parent}: no file can be locked here ({error.strerror}), as on some network disks; "
                "set TONESTACK_HOME to a folder of a disk that has locks"
            ) from None
        if _same_file(handle, path):
            return handle
        os.close(handle)  # its last holder has removed it meanwhile: claim the new one


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)  # some writers make private files
        move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Rename a file or folder; where `target` is of another disk, a copy beside it takes the name."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = temporary_name(target)
        try:
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, beside)
            os.replace(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True) if beside.is_dir() else beside.unlink(missing_ok=True)
        shutil.rmtree(source) if source.is_dir() else source.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a json file atomically: indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, default=_plain, ensure_ascii=False) + "\n")


def read_text(path: Path) -> str:
    """Read a text file; one that is not UTF-8 or cannot be opened is a `UserError` naming it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


class _OnceLoader(yaml.SafeLoader):
    """The safe loader, which refuses what it would read in silence otherwise than meant.

    That is a key that is given twice (the last one would win), and numbers with a leading zero or colons.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse numbers that YAML 1.1 reads otherwise than they look: 010 would be 8, and 1:30 would be 90."""
        text = str(node.value).lstrip("+-")
        if ":" in text or (len(text) > 1 and text[0] == "0" and text.strip("0_").isdigit()):
            fix = "write seconds, or put text in quotes" if ":" in text else "leave the zero out, or put text in quotes"
            raise yaml.constructor.ConstructorError(None, None, f"'{text}' is no plain number; {fix}", node.start_mark)
        return int(super().construct_yaml_int(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if ":" in str(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, f"'{node.value}' is no plain number; write seconds, or put text in quotes", node.start_mark
            )
        return float(super().construct_yaml_float(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is not None and (key.tag, name) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{name}' is given twice", key.start_mark)
            seen.append((key.tag, name))
        return dict(super().construct_mapping(node, deep))


for _kind in ("int", "float"):
    _OnceLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", getattr(_OnceLoader, f"construct_yaml_{_kind}"))


def load_yaml(text: str, where: str, aliases: bool = True) -> Any:
    """Parse YAML with the safe loader; a syntax error is a `UserError` with the line below `where`.

    aliases: allow `*name` to repeat `&name`; a few lines of them can expand to more than fits in memory.
    """
    try:
        if not aliases and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise UserError(f"{where}: an alias (*name) is not taken here; write it out")
        loader = _OnceLoader(text)  # a safe loader: plain values alone
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    except (ValueError, LookupError, AttributeError, RecursionError) as error:  # a 13th month, a number without end
        raise UserError(f"{where}: not valid YAML: {error}") from None


def read_json(path: Path, needed: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Read a json object; a damaged one, or one that vanishes meanwhile, is a `UserError` naming it.

    needed: required keys and their types.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: has just been removed, by another run perhaps; run again") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid json ({error}); delete it and run again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a json object; delete it and run again")
    for key, kind in (needed or {}).items():
        if not isinstance(value.get(key), kind):
            raise UserError(f"{path}: '{key}' is missing or no {kind.__name__}; delete it and run again")
    return value


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a parquet table atomically, without the pandas index."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def write_csv(path: Path, table: pd.DataFrame, exact: bool = False) -> None:
    """Write a csv atomically (LF line ends, no index), its text `inert`.

    exact: cells as they are, for formats that are not ours.
    """
    with atomic(path) as temporary:
        (table if exact else _each_text(table, inert)).to_csv(temporary, index=False, lineterminator="\n")


def read_csv(
    path: Path, text: Iterable[str] | None = None, needed: Iterable[str] = (), blanks: bool = True
) -> pd.DataFrame:
    """Read a csv that `write_csv` wrote: columns `text` (None: all) as text; blank cells are '' (NaN: not `blanks`).

    A file that is no csv, or lacks a column of `needed`, is a `UserError` naming it.
    """
    dtype: Any = str if text is None else dict.fromkeys(text, str)
    try:
        missing = None if blanks else [""]
        table = pd.read_csv(
            path, dtype=dtype, keep_default_na=False, na_values=missing, index_col=False, compression=None
        )
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as csv ({first_line(error)}); delete it and run again what makes it"
        ) from None
    absent = [column for column in needed if column not in table]
    if absent:
        raise UserError(f"{path}: column '{absent[0]}' is missing; delete the file and run again what makes it")
    return _each_text(table, uninert)


def refuse_line_breaks(path: Path, table: pd.DataFrame) -> None:
    """Refuse a cell that runs over several lines: a lone quote has swallowed rows."""
    for name in table.columns:
        if table[name].dtype.kind in "biuf":
            continue
        broken = table[name].astype(str).str.contains("[\r\n]").to_numpy()
        if broken.any():
            raise UserError(
                f"{path}: row {int(broken.argmax()) + 2}: a quote (\") opens '{name}', which runs on over rows of "
                "their own; remove it, or write it twice inside a quoted cell"
            )


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with every cell of text, column names included, changed."""

    def changed(cell: Any) -> Any:
        return change(cell) if isinstance(cell, str) else cell

    result = table.rename(columns=changed)
    for position, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            result.isetitem(position, table.iloc[:, position].map(changed).array)
    return result


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one numpy array atomically (npy, no pickle)."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, array, allow_pickle=False)


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


def file_state(status: os.stat_result) -> tuple[int, int, int, int]:
    """Size, times of change and inode: they differ where a file was replaced by one of the same size and time."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def file_hash(path: Path) -> str:
    """Return the content hash (32 hex digits) of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def kept_hash(path: Path) -> str:
    """Return the same; a file that was not touched since is read once per process."""
    return _hash_of(path, file_state(path.stat()))


@cache
def _hash_of(path: Path, state: tuple[int, int, int, int]) -> str:
    return file_hash(path)


def name_hash(name: str) -> int:
    """Return a 32-bit number from a clip's or group's name, the same in every process and on every machine."""
    return int(hashlib.blake2b(name.encode()).hexdigest()[:8], 16)


def check_clip_name(name: str, where: str) -> str:
    """Refuse a clip name that could leave its folder (absolute, `..`, NUL, drive or back slash) or is no plain text."""
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
    return check_text(name, f"{where}: file name")


def inside(root: Path, path: Path) -> bool:
    """True if `path` lies below `root`, links resolved in both."""
    return path.resolve().is_relative_to(root.resolve())


def array_hash(array: np.ndarray | None) -> str:
    """Content hash of an array; one that serves every holdout alike is hashed once."""
    if array is None:
        return ""
    array = array[0] if array.strides[0] == 0 else array
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()
