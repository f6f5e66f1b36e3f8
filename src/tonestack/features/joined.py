"""Ogg and FLAC files joined into one (chained streams): libsndfile decodes the first and says nothing of the others.

Where a further stream begins is found by its first bytes (Ogg: RFC 3533, section 6, a page that begins a stream behind
one that does not; FLAC: RFC 9639, section 6, the mark and the STREAMINFO block). The streams are decoded one by one.
"""

import io
import os
import re
from typing import Any, Self

import numpy as np
import soundfile

LARGEST = 256 << 20  # bytes; larger files are decoded as libsndfile does
PAGE = re.compile(rb"OggS\0[\x00\x01\x04\x05]")  # a page that continues or ends a stream
BEGINNINGS = {b"OggS": re.compile(rb"OggS\0[\x02\x06]"), b"fLaC": re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")}


def opened(handle: int) -> "Joined | None":
    """Return the joined streams of an open file, to be read as one; None where there is one alone."""
    mark, size = os.pread(handle, 4, 0), os.fstat(handle).st_size
    if mark not in BEGINNINGS or size > LARGEST:
        return None
    data = os.pread(handle, size, 0)
    first = PAGE.search(data) if mark == b"OggS" else re.search(b"", data)  # all streams of a video begin together
    places = [found.start() for found in BEGINNINGS[mark].finditer(data, first.end() + 1)] if first else []
    return Joined(data, [0, *places]) if places else None


class Joined:
    """Streams behind each other, as `soundfile.SoundFile` is used here: read from front to end.

    A stream of another rate or number of channels than the first ends the recording, which is then shorter than
    `frames` says; so does one that cannot be opened.
    """

    def __init__(self, data: bytes, places: list[int]) -> None:
        ends = [*places[1:], len(data)]
        self._parts = [data[start:end] for start, end in zip(places, ends, strict=True)]
        self._sound = soundfile.SoundFile(io.BytesIO(self._parts.pop(0)))
        self.format, self.channels, self.samplerate = (
            self._sound.format, self._sound.channels, self._sound.samplerate,
        )  # fmt: skip
        self.frames, alike = self._sound.frames, 0
        for part in self._parts:
            try:
                info = soundfile.info(io.BytesIO(part))
            except soundfile.SoundFileError:
                break
            if (info.channels, info.samplerate) != (self.channels, self.samplerate):
                break
            self.frames, alike = self.frames + info.frames, alike + 1
        self.frames += len(self._parts) > alike
        del self._parts[alike:]

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Return float32 (m, C), fewer than `frames` at the end alone."""
        blocks, wanted = [self._sound.read(frames, dtype=dtype, always_2d=True)], frames
        while (wanted := wanted - len(blocks[-1])) and self._parts:
            self._sound.close()
            self._sound = soundfile.SoundFile(io.BytesIO(self._parts.pop(0)))
            blocks.append(self._sound.read(wanted, dtype=dtype, always_2d=True))
        return np.concatenate(blocks)

    def seek(self, frames: int) -> int:
        """Refuse: what lies behind is gone."""
        raise soundfile.SoundFileRuntimeError("joined streams cannot seek")

    def close(self) -> None:
        """Close the stream that is open."""
        self._sound.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
