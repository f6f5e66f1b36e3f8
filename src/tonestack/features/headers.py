"""Sample rate and length that a recording's header gives, read without a decoder: a broken file can do no harm here."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

READ = 1 << 16  # bytes: headers stand at the beginning, those of an mp3 behind its tag
MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits
MP3_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # version 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # versions 2 and 2.5
}

T = TypeVar("T")


def sample_rate(path: Path) -> int | None:
    """Rate in Hz of a WAV, FLAC, Ogg or MP3 file; None for others, and where the header does not say."""
    return _looked_at(path, lambda file: _rate(_start(file)))


def seconds(path: Path) -> float | None:
    """Length of a WAV, FLAC, Ogg or MP3 file; None for others, and where nothing says so.

    A long MP3 of variable bit rate has about this length: its first 64 KiB are taken for the whole.
    """
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


def _start(file: BinaryIO) -> bytes:
    """The first bytes of a file, behind its ID3 tag, which may hold a picture."""
    start = file.read(READ)
    if start[:3] != b"ID3" or len(start) < 10:
        return start
    file.seek(_tag_bytes(start))
    return file.read(READ)


def _seconds(file: BinaryIO) -> float | None:
    start = _start(file)
    behind, size = file.tell(), file.seek(0, os.SEEK_END)
    rate = _rate(start)
    if not rate:
        return None
    if start[:4] in (b"RIFF", b"RF64"):
        data = _chunk(start, b"data")
        return (size - data) / struct.unpack_from("<I", start, _chunk(start, b"fmt ") + 8)[0] if data else None
    if start[:4] == b"fLaC":
        return (int.from_bytes(start[18:26], "big") & (1 << 36) - 1) / rate or None
    if start[:4] != b"OggS":
        return _mp3_seconds(start, size - behind)
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
    """The rate of the first frame."""
    if len(start) < 4 or start[0] != 0xFF or start[1] & 0xE0 != 0xE0:
        return None
    version, index = start[1] >> 3 & 3, start[2] >> 2 & 3
    return MP3_RATES[version][index] if version in MP3_RATES and index < 3 else None


def _mp3_seconds(start: bytes, rest: int) -> float | None:
    """The length of the frames in `start`, and of as many in the `rest` of the file (bytes) as its size allows."""
    places, rate = frames(start), _mp3(start)
    if len(places) < 2 or not rate:
        return None
    samples = 1152 if start[1] >> 3 & 3 == 3 else 576
    return len(places) * samples / rate * (1 + rest / (len(start) - places[0]))


def frames(data: bytes) -> list[int]:
    """Return where the frames of layer III begin; tags between them are passed over."""
    places, at = [], 0
    while at + 4 <= len(data):
        if data[at : at + 3] == b"ID3" and at + 10 <= len(data):
            at += _tag_bytes(data[at : at + 10])
        elif length := frame_bytes(data[at : at + 4]):
            places.append(at)
            at += length
        else:
            at = max(at + 1, data.find(b"\xff", at + 1)) if b"\xff" in data[at + 1 : at + 4096] else at + 4095
    return places


def frame_bytes(head: bytes) -> int:
    """Return the bytes of the frame that this header (4 bytes) begins; 0 if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = (head[1] >> 3) & 3, (head[1] >> 1) & 3
    rate, bits = (head[2] >> 2) & 3, head[2] >> 4
    if version == 1 or layer != 1 or rate == 3 or bits in (0, 15):
        return 0
    per_second = MP3_KBITS[version == 3][bits] * 1000
    return (144 if version == 3 else 72) * per_second // MP3_RATES[version][rate] + (head[2] >> 1 & 1)


def _tag_bytes(head: bytes) -> int:
    """The bytes of the ID3 tag that this header (10 bytes) begins."""
    return 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
