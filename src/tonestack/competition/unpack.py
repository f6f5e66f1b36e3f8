"""Safe unpacking of untrusted archives: nothing outside the folder, no links, no devices, no bombs."""

import errno
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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tonestack.base.errors import UserError
from tonestack.base.files import inside

CHUNK = 1 << 20
DAMAGED: tuple[type[Exception], ...] = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)
DAMAGED += (EOFError, NotImplementedError, ValueError, OverflowError)  # what their readers raise besides
STAGING = ".unpack-"  # hidden folders into which archives go first


@dataclass(frozen=True)
class Limits:
    """Limits of an archive: bytes in all, growth factor, and number of members."""

    bytes: int = 100 << 30
    ratio: float = 100.0
    members: int = 1_000_000


def is_archive(path: Path) -> bool:
    """True if a file is a zip or a tar (compressed or not), by its content."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> list[str]:
    """Unpack `archive` into `folder`; return the names of its files.

    A member that is absolute, has `..` or a drive in its name, or is a link or a device, and an archive that grows
    beyond `limits` or is damaged, are a `UserError`; then nothing of it stays behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=folder) as temporary:
        staging = Path(temporary)
        try:
            names = _extract(archive, staging, limits or Limits())
        except DAMAGED as error:
            raise UserError(f"{archive}: damaged or not an archive ({error}); delete it and download again") from None
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):  # a full disk, say
                raise
            raise UserError(f"{archive}: damaged ({error}); delete it and download again") from None
        for name in names:  # checked before the first file is moved: all or nothing
            _check_target(archive, folder, name)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / name, folder / name)
    return names


def sweep_unpacked(folder: Path) -> None:
    """Remove leftovers of a killed `unpack` into `folder`."""
    for left in folder.glob(f"{STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)


def _extract(archive: Path, staging: Path, limits: Limits) -> list[str]:
    most = min(limits.bytes, int(limits.ratio * archive.stat().st_size))
    names: list[str] = []
    written = 0
    for name, source in _members(archive):
        _check_name(archive, name)
        if len(names) >= limits.members:
            raise UserError(f"{archive}: more than {limits.members:,} files; not unpacked")
        target = staging / name
        if target.exists():
            raise UserError(f"{archive}: '{name}' stands twice in it; not unpacked")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as handle:
            while block := source.read(CHUNK):
                written += len(block)
                if written > most:  # counted while writing: what the headers claim is not believed
                    raise UserError(f"{archive}: unpacks to more than {most:,} bytes (a bomb?); not unpacked")
                handle.write(block)
        names.append(name)
    return names


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the plain files; anything but files and folders is refused."""
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
    else:
        yield from _tar_members(archive)


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{archive}: '{member.filename}' is a link or a device; not unpacked")
            if member.flag_bits & 1:
                raise UserError(f"{archive}: '{member.filename}' is encrypted; not unpacked")
            if not member.is_dir():
                with opened.open(member) as source:
                    yield member.orig_filename, source


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r:*") as opened:
        for member in opened:
            if not (member.isreg() or member.isdir()):
                raise UserError(f"{archive}: '{member.name}' is a link or a device; not unpacked")
            source = opened.extractfile(member) if member.isreg() else None
            if source is not None:
                with source:
                    yield member.name, source


def _check_name(archive: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    bad = not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    if bad or PureWindowsPath(name).drive:
        raise UserError(f"{archive}: {name!r} would leave its folder; not unpacked")


def _check_target(archive: Path, folder: Path, name: str) -> None:
    """A link or a folder that is there already must not lead a file elsewhere."""
    target = folder / name
    if not inside(folder, target) or target.is_dir():
        raise UserError(f"{archive}: '{name}' would be written through a link or over a folder; not unpacked")


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of a folder that may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
