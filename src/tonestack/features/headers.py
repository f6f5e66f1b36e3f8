"""Sample rate and length that a recording's header gives, read without a decoder: a broken file can do no harm here."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

READ = 1 << 16  # bytes: headers stand at the beginning; an mp3 may begin with a picture
MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits

T = TypeVar("T")


def sample_rate(path: Path) -> int | None:
    """Rate in Hz of a WAV, FLAC, Ogg or MP3 file; None for others, and where the header does not say."""
    return _looked_at(path, lambda file: _rate(file.read(READ)))


def seconds(path: Path) -> float | None:
    """Length of a WAV, FLAC or Ogg file; None for others, and where nothing says so."""
    return _looked_at(path, _seconds)


def _looked_at(path: Path, look: Callable[[BinaryIO], T | None]) -> T | None:
    """What `look` finds in a file; None where it cannot be read, or ends too early."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return look(file)
    except (OSError, struct.error, IndexError, ZeroDivisionError):
        return None


def _seconds(file: BinaryIO) -> float | None:
    start, size = file.read(READ), file.seek(0, os.SEEK_END)
    rate = _rate(start)
    if not rate:
        return None
    if start[:4] in (b"RIFF", b"RF64"):
        data = _chunk(start, b"data")
        return (size - data) / struct.unpack_from("<I", start, _chunk(start, b"fmt ") + 8)[0] if data else None
    if start[:4] == b"fLaC":
        return (int.from_bytes(start[18:26], "big") & (1 << 36) - 1) / rate or None
    if start[:4] != b"OggS":
        return None
    file.seek(max(0, size - READ))
    end = file.read()
    last = end.rfind(b"OggS")
    return struct.unpack_from("<q", end, last + 6)[0] / rate if last >= 0 else None


def _rate(start: bytes) -> int | None:
    if start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE":
        return _wave(start)
    if start[:4] == b"fLaC":
        return int.from_bytes(start[18:21], "big") >> 4 or None
    if start[:4] == b"OggS":
        return _ogg(start)
    return _mp3(start)


def _wave(start: bytes) -> int | None:
    at = _chunk(start, b"fmt ")
    return struct.unpack_from("<I", start, at + 4)[0] or None if at else None


def _chunk(start: bytes, wanted: bytes) -> int:
    """Where the content of a WAV file's chunk begins, wherever it stands; 0 if it is not there."""
    at = 12
    while at + 8 <= len(start):
        name, size = start[at : at + 4], struct.unpack_from("<I", start, at + 4)[0]
        if name == wanted:
            return at + 8
        at += 8 + size + size % 2
    return 0


def _ogg(start: bytes) -> int | None:
    if b"OpusHead" in start[:64]:
        return 48_000  # Opus decodes to 48 kHz whatever the input was
    vorbis = start[:64].find(b"\x01vorbis")
    return struct.unpack_from("<I", start, vorbis + 12)[0] or None if vorbis >= 0 else None


def _mp3(start: bytes) -> int | None:
    """The rate of the first frame behind an ID3 tag."""
    at = 0
    if start[:3] == b"ID3":
        at = 10 + sum((start[6 + i] & 0x7F) << (7 * (3 - i)) for i in range(4))
    head = start[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, index = head[1] >> 3 & 3, head[2] >> 2 & 3
    return MP3_RATES[version][index] if version in MP3_RATES and index < 3 else None
