"""Recordings that libsndfile does not read (M4A, 3GP, AMR, IMA4, MP3 inside WAV, WMA ...), by the program ffmpeg.

It gets an open file of a known kind and no name, may open no other protocol than `fd` and `file` and no playlist, has
limits on time, length and memory, and gives float32 WAV through a pipe. What was tried: docs/predict.md.
"""

import errno
import os
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from typing import Any, Self

import numpy as np
import soundfile

SECONDS = 24 * 3600  # of sound at most; `audio.max_seconds` is far below
PATIENCE = 600.0  # seconds that may pass without a sample, and of processor time
MEMORY = 256 << 20  # bytes of one block
ADDRESSES = 2 << 30  # bytes of all blocks; a file of 5 kB whose tables promise millions of entries asked for 3 GB
KILLED = (-signal.SIGKILL, -signal.SIGTERM, 255)  # ends that are not the file's doing; 255: by SIGTERM, in good order
SAID = 64 << 10  # bytes of its messages; a damaged file may have one for every few bytes
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,amr,amrnb,amrwb,aac,caf,wav,asf,matroska,webm,ape,wv,avi,ogg"
NEEDS = "needs ffmpeg"
WAV, PLAIN = "WAV of another codec", (b"\1\0", b"\3\0")  # the codes of samples without a codec: integers, floats
# What a recording of a kind begins with: place, bytes, name.
BEGINNINGS = (
    *((4, b"ftyp", "M4A, MP4 or 3GP"), (0, b"#!AMR", "AMR"), (0, b"caff", "CAF"), (0, b"\x30\x26\xb2\x75", "WMA")),
    *((0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"), (0, b"MAC ", "Monkey's Audio"), (0, b"wvpk", "WavPack")),
    *((0, b"\xff\xf1", "AAC"), (0, b"\xff\xf9", "AAC"), (8, b"WAVEfmt ", WAV)),
    (8, b"AVI LIST", "AVI"),
    (28, b"Speex   ", "Speex"),
    (28, b"\x7fFLAC", "FLAC in Ogg"),
    (28, b"\x80theora", "Ogg"),
)


def installed() -> str | None:
    """Return the path of ffmpeg, None where it is not installed."""
    return _found(os.environ.get("PATH", ""))


@cache
def _found(path: str) -> str | None:
    return shutil.which("ffmpeg", path=path)


def kind(handle: int) -> str:
    """Name the kind of an open file that ffmpeg may be asked to read; empty for any other.

    A damaged WAV of plain samples is no other codec: without ffmpeg libsndfile's own reason is better.
    """
    start = os.pread(handle, 36, 0)
    found = next((name for place, text, name in BEGINNINGS if start[place : place + len(text)] == text), "")
    return "" if found == WAV and start[20:22] in PLAIN and not installed() else found


class Piped:
    """A recording while ffmpeg decodes it, as `soundfile.SoundFile` is used here: read from front to end."""

    format = "ffmpeg"

    def __init__(self, handle: int, what: str) -> None:
        program = installed()
        if program is None:
            raise soundfile.SoundFileRuntimeError(
                f"{what}: {NEEDS}; install it, or convert the file: ffmpeg -i FILE FILE.wav"
            )
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the recording)
        call = [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-max_alloc", str(MEMORY)]
        call += ["-timelimit", str(round(PATIENCE)), "-protocol_whitelist", "file,fd,pipe"]
        call += ["-format_whitelist", DEMUXERS, "-i", f"file:/dev/fd/{handle}", "-map", "0:a:0", "-vn", "-sn", "-dn"]
        call += ["-t", str(SECONDS), "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
        os.lseek(handle, 0, os.SEEK_SET)
        # Signals as they are here: messages beyond their limit are lost and do not kill it.
        self._process = subprocess.Popen(
            call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors, pass_fds=(handle,), bufsize=0,
            restore_signals=False,
        )  # fmt: skip
        self._limit(resource.RLIMIT_AS, ADDRESSES)
        self._limit(resource.RLIMIT_FSIZE, SAID)
        self._count = 0
        try:
            self.channels, self.samplerate = self._header()
        except BaseException:
            self.close()
            raise

    @property
    def frames(self) -> int:
        """Frames so far, ffmpeg says no number before the end; one more where it complains of a cut or damaged file."""
        return max(1, self._count + bool(os.fstat(self._errors.fileno()).st_size))

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Return float32 (m, C), fewer than `frames` at the end; an error if ffmpeg gives up."""
        data = self._bytes(4 * frames * self.channels)
        block = np.frombuffer(data[: len(data) // (4 * self.channels) * 4 * self.channels], "<f4")
        block = block.astype(np.float32).reshape(-1, self.channels)
        self._count += len(block)
        if len(block) < frames and self._status():
            raise self._fault()
        return block

    def seek(self, frames: int) -> int:
        """Refuse: a pipe has no way back."""
        raise soundfile.SoundFileRuntimeError("a pipe cannot seek")

    def close(self) -> None:
        """End ffmpeg."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _limit(self, what: int, most: int) -> None:
        if hasattr(resource, "prlimit") and not 0 <= resource.getrlimit(what)[0] <= most:  # Linux; ours is inherited
            with suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, what, (most, most))

    def _status(self) -> int:
        """Return the exit status of a program that gives nothing more."""
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            return 1

    def _header(self) -> tuple[int, int]:
        """Read up to the samples; return channels and rate."""
        if self._bytes(12)[8:] != b"WAVE":
            raise self._fault()
        channels = rate = 0
        while len(head := self._bytes(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                break
            body = self._bytes(min(size + size % 2, 1 << 16))
            if name == b"fmt " and len(body) >= 8:
                channels, rate = struct.unpack_from("<HI", body, 2)
        if not channels or not rate:
            raise self._fault()
        return channels, rate

    def _bytes(self, count: int) -> bytes:
        assert self._process.stdout is not None
        pipe, got = self._process.stdout.fileno(), bytearray()
        deadline = time.monotonic() + PATIENCE
        while len(got) < count:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise soundfile.SoundFileRuntimeError("ffmpeg gives no samples")
            part = os.read(pipe, min(count - len(got), 1 << 20))
            if not part:
                break
            got += part
        return bytes(got)

    def _fault(self) -> Exception:
        if self._status() in KILLED:
            return OSError(errno.ENOMEM, "ffmpeg was killed, for a lack of memory perhaps")
        self._errors.seek(0)
        said = self._errors.read(2_000).decode(errors="replace").strip().splitlines() or ["no samples"]
        first = re.sub(r"^(\[[^\]]*\] ?)*", "", said[0])  # the cause; those behind it are what follows from it
        return soundfile.SoundFileRuntimeError(
            "it holds no sound" if "matches no streams" in first else f"ffmpeg: {first}"
        )
