"""MP3 files whose length the decoder mistakes: its frames are counted and the count is put in front of them.

Without a Xing header of its own an MP3 of variable bit rate, or several files joined into one, is taken for as long as
the first frame's bit rate or header says, and decoded no further. A Xing header with the true count is what the
decoder believes (Xing, VBR header; the frame layout: ISO/IEC 11172-3 and 13818-3, layer III).
"""

import io
import os

import soundfile

LARGEST = 256 << 20  # bytes; larger files are decoded as they are
SLACK = 4 * 1152  # samples that an encoder may add at both ends
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz, by version
KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # version 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # versions 2 and 2.5
}


def source(handle: int) -> int | io.BytesIO:
    """Return the open file itself, or a copy in memory with the true number of frames where the decoder mistakes it."""
    start, size = os.pread(handle, 4, 0), os.fstat(handle).st_size
    if not (start[:3] == b"ID3" or _frame(start)) or size > LARGEST:
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


def frames(data: bytes) -> list[int]:
    """Return where the frames of layer III begin; tags between them are passed over."""
    places, at = [], 0
    while at + 4 <= len(data):
        if data[at : at + 3] == b"ID3" and at + 10 <= len(data):
            at += 10 + sum(
                (byte & 127) << shift for byte, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=True)
            )
        elif length := _frame(data[at : at + 4]):
            places.append(at)
            at += length
        else:
            at = max(at + 1, data.find(b"\xff", at + 1)) if b"\xff" in data[at + 1 : at + 4096] else at + 4095
    return places


def _frame(head: bytes) -> int:
    """Return the bytes of the frame that this header (4 bytes) begins; 0 if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = (head[1] >> 3) & 3, (head[1] >> 1) & 3
    rate, bits = (head[2] >> 2) & 3, head[2] >> 4
    if version == 1 or layer != 1 or rate == 3 or bits in (0, 15):
        return 0
    return (144 if version == 3 else 72) * KBITS[version == 3][bits] * 1000 // RATES[version][rate] + (head[2] >> 1 & 1)


def _header(head: bytes, count: int) -> bytes:
    """Return a frame of silence with a Xing header of `count` frames, of the kind of the frame that `head` begins."""
    version_1, mono = (head[1] >> 3) & 3 == 3, head[3] >> 6 == 3
    plain = bytes([0xFF, head[1] | 1, 9 << 4 | head[2] & 0x0C, head[3]])  # no checksum, no padding, room for the header
    side = (17 if mono else 32) if version_1 else (9 if mono else 17)
    text = plain + bytes(side) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return text.ljust(_frame(plain), b"\0")
