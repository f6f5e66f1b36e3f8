"""MP3 files whose length the decoder mistakes: its frames are counted and the count is put in front of them.

Without a Xing header of its own an MP3 of variable bit rate, or several files joined into one, is taken for as long as
the first frame's bit rate or header says, and decoded no further. A Xing header with the true count is what the
decoder believes (Xing, VBR header; the frame layout: ISO/IEC 11172-3 and 13818-3, layer III).
"""

import io
import os

from tonestack.features.headers import frame_bytes, frames

import soundfile

LARGEST = 256 << 20  # bytes; larger files are decoded as they are
SLACK = 4 * 1152  # samples that an encoder may add at both ends


def source(handle: int) -> int | io.BytesIO:
    """Return the open file itself, or a copy in memory with the true number of frames where the decoder mistakes it."""
    start, size = os.pread(handle, 4, 0), os.fstat(handle).st_size
    if not (start[:3] == b"ID3" or frame_bytes(start)) or size > LARGEST:
        return handle
    with soundfile.SoundFile(handle, closefd=False) as sound:
        mp3, promised = sound.format == "MP3", sound.frames
    os.lseek(handle, 0, os.SEEK_SET)
    if not mp3:
        return handle
    data = os.pread(handle, size, 0)
    places = frames(data)
    samples = 1152 if places and (data[places[0] + 1] >> 3) & 3 == 3 else 576
    if len(places) * samples <= 1.02 * promised + SLACK:
        return handle
    first = places[1] if b"Xing" in data[places[0] : places[1]] or b"Info" in data[places[0] : places[1]] else places[0]
    return io.BytesIO(_header(data[first : first + 4], len(places)) + data[first:])


def _header(head: bytes, count: int) -> bytes:
    """Return a frame of silence with a Xing header of `count` frames, of the kind of the frame that `head` begins."""
    version_1, mono = (head[1] >> 3) & 3 == 3, head[3] >> 6 == 3
    plain = bytes([0xFF, head[1] | 1, 9 << 4 | head[2] & 0x0C, head[3]])  # no checksum, no padding, room for the header
    side = (17 if mono else 32) if version_1 else (9 if mono else 17)
    text = plain + bytes(side) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return text.ljust(frame_bytes(plain), b"\0")
