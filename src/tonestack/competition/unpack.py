"""Safe unpacking of untrusted archives: nothing outside the folder, no links, no devices, no bombs."""

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from tonestack.base.errors import UserError
from tonestack.base.files import inside, move
from tonestack.base.text import has_control

CHUNK = 1 << 20
DAMAGED: tuple[type[Exception], ...] = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)
# What their readers raise besides; RuntimeError: headers within headers without end, and methods that are not known.
DAMAGED += (EOFError, RuntimeError, ValueError, OverflowError, LookupError, AttributeError, TypeError)
NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ, errno.ENOENT, errno.ELOOP}
STAGING = ".unpack-"  # hidden folders into which archives go first
OWN = ".download"  # the folder of the download's own records
HEADER = 1 << 20  # bytes of headers (long names, pax records, maps of sparse files) that one member of a tar may have
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class Limits:
    """Limits of an archive: bytes in all, growth factor, and number of members."""

    bytes: int = 100 << 30
    ratio: float = 100.0
    members: int = 1_000_000


class _Budget:
    """What an archive and the archives inside it may still use: bytes written and members."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.most = min(limits.bytes, int(limits.ratio * archive.stat().st_size))
        self.limits, self.written, self.members = limits, 0, 0

    def write(self, count: int, said: str) -> None:
        """Count bytes while they are written: what the headers claim is not believed."""
        self.written += count
        if self.written > self.most:
            raise UserError(f"{said}: unpacks to more than {self.most:,} bytes (a bomb?); not unpacked")

    def member(self, said: str) -> None:
        """Count a file or folder."""
        self.members += 1
        if self.members > self.limits.members:
            raise UserError(f"{said}: more than {self.limits.members:,} files; not unpacked")


def is_archive(path: Path) -> bool:
    """True if a file is a zip or a tar (compressed or not), by its content."""
    if zipfile.is_zipfile(path):
        return True
    try:
        with _tar(path, str(path)) as (_, step):
            return step() is not None
    except UserError:  # a tar that is refused is one
        return True
    except DAMAGED:
        return False
    except OSError:
        return False


def named_archive(name: str) -> bool:
    """True if a file is called like an archive (macOS leaves `._a.zip` beside `a.zip`, which is none)."""
    return name.lower().endswith(SUFFIXES) and not PurePosixPath(name).name.startswith("._")


def unpack(archive: Path, folder: Path, limits: Limits | None = None, nested: bool = False) -> list[str]:
    """Unpack `archive` into `folder`; return the names of its files.

    nested: archives inside it are unpacked where they lie, and removed; `limits` hold for all of them together.
    A member that is absolute, has `..` or a drive in its name, or is a link or a device, and an archive that grows
    beyond `limits` or is damaged, are a `UserError`; then nothing of it stays behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    budget = _Budget(archive, limits or Limits())
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=folder) as temporary:
        staging = Path(temporary) / "files"
        staging.mkdir()
        names = _staged(archive, str(archive), staging, budget)
        for name in [n for n in names if nested and named_archive(n)]:
            names = list(dict.fromkeys([*(n for n in names if n != name), *_inner(archive, name, staging, budget)]))
        for name in names:  # checked before the first file is moved: all or nothing
            _check_target(archive, folder, name)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            move(staging / name, folder / name)
    return names


def _inner(archive: Path, name: str, staging: Path, budget: _Budget) -> list[str]:
    """Unpack an archive of an archive in the place where it lies; return the names of its files."""
    said, place = f"{archive}: '{name}' inside it", PurePosixPath(name).parent
    with tempfile.TemporaryDirectory(dir=staging.parent) as temporary:
        made = _staged(staging / name, said, Path(temporary), budget)
        (staging / name).unlink()
        for one in made:
            target = staging / place / one
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(temporary) / one, target)
            except OSError as error:
                raise UserError(f"{said}: '{one}' cannot lie there ({error.strerror}); not unpacked") from None
    return [str(place / one) for one in made]


def _staged(archive: Path, said: str, staging: Path, budget: _Budget) -> list[str]:
    try:
        return _extract(archive, said, staging, budget)
    except DAMAGED as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{said}: damaged or not an archive ({why}); delete it and download again") from None
    except OSError as error:
        if error.errno in NAMES:
            why = f"names that cannot lie side by side here ({error.strerror})"
            raise UserError(f"{said}: {why}; not unpacked") from None
        if error.errno not in (None, errno.EINVAL):  # a full disk, say
            raise
        raise UserError(f"{said}: damaged ({error}); delete it and download again") from None


def sweep_unpacked(folder: Path) -> None:
    """Remove leftovers of a killed `unpack` into `folder`."""
    for left in folder.glob(f"{STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)


def _extract(archive: Path, said: str, staging: Path, budget: _Budget) -> list[str]:
    names: list[str] = []
    for name, source in _members(archive, said, budget):
        _check_name(said, name)
        target = staging / name
        if target.exists():
            raise UserError(f"{said}: '{name}' stands twice in it; not unpacked")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as handle:
            while block := source.read(CHUNK):
                budget.write(len(block), said)
                handle.write(block)
        names.append(name)
    return names


def _members(archive: Path, said: str, budget: _Budget) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the plain files; anything but files and folders is refused."""
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive, said, budget)
    else:
        yield from _tar_members(archive, said, budget)


def _zip_members(archive: Path, said: str, budget: _Budget) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            budget.member(said)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{said}: '{member.filename}' is a link or a device; not unpacked")
            if member.flag_bits & 1:
                raise UserError(f"{said}: '{member.filename}' is encrypted; not unpacked")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # their readers know no bound
                raise UserError(f"{said}: '{member.filename}' is not packed by deflate; not unpacked: do it yourself")
            if not member.is_dir():
                with opened.open(member) as source:
                    yield member.orig_filename, source


def _tar_members(archive: Path, said: str, budget: _Budget) -> Iterator[tuple[str, IO[bytes]]]:
    with _tar(archive, said) as (opened, step):
        while (member := step()) is not None:
            budget.member(said)
            if opened.offset > 2 * budget.most + HEADER:  # of folders alone, say
                raise UserError(f"{said}: unpacks to more than {budget.most:,} bytes (a bomb?); not unpacked")
            if not (member.isreg() or member.isdir()):
                raise UserError(f"{said}: '{member.name}' is a link or a device; not unpacked")
            source = opened.extractfile(member) if member.isreg() else None
            if source is not None:
                with source:
                    yield member.name, source


@contextmanager
def _tar(archive: Path, said: str) -> Iterator[tuple[tarfile.TarFile, Any]]:
    """Open a tar; yield it and the function that returns its next member, None at the end.

    tarfile holds every header whole in memory, and every member: a megabyte of them may be a gigabyte unpacked.
    """
    with open(archive, "rb") as handle:
        stream = _Metered(_decompressed(handle), said)
        with tarfile.open(fileobj=stream, mode="r:") as opened:  # type: ignore[call-overload]
            ends = [-1]

            def step() -> tarfile.TarInfo | None:
                stream.left = HEADER
                member = opened.next()
                stream.left = None
                opened.members.clear()  # type: ignore[attr-defined]
                if member is not None and opened.offset <= ends[0]:
                    raise tarfile.ReadError("a member that ends before it begins")
                ends[0] = opened.offset
                return member

            yield opened, step


def _decompressed(handle: IO[bytes]) -> IO[bytes]:
    start = handle.read(6)
    handle.seek(0)
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=handle)  # type: ignore[return-value]
    if start[:3] == b"BZh":
        return bz2.BZ2File(handle)
    return lzma.LZMAFile(handle) if start == b"\xfd7zXZ\0" else handle


class _Metered(io.RawIOBase):
    """A stream of which no more than `left` bytes may be read (None: any number)."""

    def __init__(self, stream: IO[bytes], said: str) -> None:
        self.stream, self.said = stream, said
        self.left: int | None = HEADER  # opening a tar reads its first headers

    def read(self, size: int = -1) -> bytes:
        if self.left is not None:
            if not 0 <= size <= self.left:
                raise UserError(f"{self.said}: more than {HEADER:,} bytes of headers in one (a bomb?); not unpacked")
            self.left -= size
        return self.stream.read(size)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _check_name(said: str, name: str) -> None:
    parts = PurePosixPath(name).parts
    bad = not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    if bad or PureWindowsPath(name).drive:
        raise UserError(f"{said}: {name!r} would leave its folder; not unpacked")
    if has_control(name):
        raise UserError(f"{said}: the name {name!r} holds a control character; not unpacked")
    if parts[0] == OWN:
        raise UserError(f"{said}: {name!r} would lie among the download's own records; not unpacked")


def _check_target(archive: Path, folder: Path, name: str) -> None:
    """A link or a folder that is there already must not lead a file elsewhere, nor a file stand where a folder goes."""
    target = folder / name
    for parent in PurePosixPath(name).parents:
        if os.path.lexists(folder / parent) and not (folder / parent).is_dir():
            why = f"needs a folder where {folder / parent} is a file; move that away"
            raise UserError(f"{archive}: '{name}' {why}; not unpacked")
    if not inside(folder, target) or target.is_dir():
        raise UserError(f"{archive}: '{name}' would be written through a link or over a folder; not unpacked")


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of a folder that may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
