"""WAV files byte by byte: what no writer of audio would write."""

import struct
from pathlib import Path

import numpy as np


def wav_bytes(
    data: bytes, claimed: int | None = None, channels: int = 1, bits: int = 16, code: int = 1, rate: int = 16_000
) -> bytes:
    """A WAV file by hand; `claimed` is what the data chunk's size field says, `code` the codec's number."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits)
    size = len(data) if claimed is None else claimed
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(4 + len(body), 0xFFFFFFFF)) + body


def pcm(seconds: float = 0.3, rate: int = 16_000) -> bytes:
    """A tone of 440 Hz as 16-bit samples."""
    t = np.arange(int(seconds * rate)) / rate
    return np.int16(0.5 * 32767 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes()


def long_wav(path: Path, seconds: int, rate: int) -> None:
    """A recording whose file is sparse: a second of noise at either end, silence between."""
    noise = np.random.default_rng(0).integers(-9000, 9000, rate).astype("<i2").tobytes()
    size = seconds * rate * 2
    with open(path, "wb") as handle:
        handle.write(wav_bytes(b"", claimed=size, rate=rate) + noise)
        handle.truncate(44 + size)
        handle.seek(44 + size - len(noise))
        handle.write(noise)
