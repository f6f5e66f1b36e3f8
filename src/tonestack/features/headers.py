"""Sample rate and length that a recording's header gives, read without a decoder: a broken file can do no harm here."""

import os
import struct
from pathlib import Path

READ = 1 << 16  # bytes: headers stand at the beginning; an mp3 may begin with a picture
MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits


def sample_rate(path: Path) -> int | None:
    """Rate in Hz of a WAV, FLAC, Ogg or MP3 file; None for others, and where the header does not say."""
    start, _, _ = _ends(path)
    try:
        return _rate(start)
    except (struct.error, IndexError):
        return None


def seconds(path: Path) -> float | None:
    """Length of a WAV, FLAC or Ogg file; None for others, and where nothing says so."""
    start, end, size = _ends(path)
    try:
        rate = _rate(start)
        return _seconds(start, end, size, rate) if rate else None
    except (struct.error, IndexError, ZeroDivisionError):
        return None


def _ends(path: Path) -> tuple[bytes, bytes, int]:
    """A file's first and last bytes and its size; empty where it cannot be read."""
    try:
        if not path.is_file():
            return b"", b"", 0
        with path.open("rb") as file:
            start, size = file.read(READ), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - READ))
            return start, file.read(READ), size
    except OSError:
        return b"", b"", 0


def _seconds(start: bytes, end: bytes, size: int, rate: int) -> float | None:
    if start[:4] in (b"RIFF", b"RF64"):
        at = _chunk(start, b"fmt ")
        data = _chunk(start, b"data")
        return (size - data) / struct.unpack_from("<I", start, at + 8)[0] if at and data else None
    if start[:4] == b"fLaC":
        return (int.from_bytes(start[18:26], "big") & (1 << 36) - 1) / rate or None
    last = end.rfind(b"OggS") if start[:4] == b"OggS" else -1
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
