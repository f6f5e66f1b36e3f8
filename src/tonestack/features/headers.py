"""The sample rate that a recording's header gives, read without a decoder: a broken file can do no harm here."""

import struct
from pathlib import Path

READ = 1 << 16  # bytes: headers stand at the beginning; an mp3 may begin with a picture
MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits


def sample_rate(path: Path) -> int | None:
    """Rate in Hz of a WAV, FLAC, Ogg or MP3 file; None for others, and where the header does not say."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            start = file.read(READ)
        return _rate(start)
    except (OSError, struct.error, IndexError):
        return None


def _rate(start: bytes) -> int | None:
    if start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE":
        return _wave(start)
    if start[:4] == b"fLaC":
        return int.from_bytes(start[18:21], "big") >> 4 or None
    if start[:4] == b"OggS":
        return _ogg(start)
    return _mp3(start)


def _wave(start: bytes) -> int | None:
    """The rate in the chunk `fmt `, wherever it stands."""
    at = 12
    while at + 16 <= len(start):
        name, size = start[at : at + 4], struct.unpack_from("<I", start, at + 4)[0]
        if name == b"fmt ":
            return struct.unpack_from("<I", start, at + 12)[0] or None
        at += 8 + size + size % 2
    return None


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
