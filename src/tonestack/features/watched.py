"""Decoding under watch: in a process of its own, whose crash costs one file, and with a limit on time.

`prepare` has worker processes of its own; whatever else opens a recording does so by the functions here, which are
those of `audio`.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.features.audio import BLOCK, AudioPiece, BadAudio, Clip, GrowingWave, PassingFault
from tonestack.features.decoder import LENGTH
from tonestack.settings.data_config import AudioParams

import numpy as np

SOURCE = Path(__file__).parents[2]  # the folder that holds the package
KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # ends that are not the decoder's own
START = 120.0  # seconds that a decoder may take to start
LONGEST = 1 << 20  # bytes of an answer's json


def decode_clip(
    path: Path, params: AudioParams, root: Path | None = None, seconds: float | None = None, scratch: Path | None = None
) -> Clip:
    """Decode one file as `audio.decode_clip` does; it has `seconds` (default: `params.decode_minutes`).

    Raises `BadAudio`, also where the decoder crashes or takes longer, and `PassingFault`.
    """
    request = _request(path, params, root=root, scratch=scratch)
    (answer,) = _answers(request, params, seconds)
    return answer.clip


def pieces(path: Path, params: AudioParams, whole: float, window: float) -> Iterator[AudioPiece]:
    """Decode one file piece by piece as `audio.pieces` does, `params.decode_minutes` for every piece."""
    yield from _answers(_request(path, params, whole=whole, window=window), params, None)


def length(path: Path, root: Path | None = None) -> float:
    """Return the seconds of a file, as `audio.length` does. Raises `BadAudio`."""
    params = AudioParams()
    (answer,) = _answers(_request(path, params, root=root) | {"length": True}, params, None)
    return answer.seconds


def _request(path: Path, params: AudioParams, **more: Any) -> dict[str, Any]:
    """What the decoder is asked; it has no current folder of ours."""
    folders = {key: os.path.abspath(more[key]) if more.get(key) else None for key in ("root", "scratch")}
    times = {key: more.get(key) for key in ("whole", "window")}
    return {"path": os.path.abspath(path), "audio": params.model_dump(mode="json"), **folders, **times}


def _answers(request: dict[str, Any], params: AudioParams, seconds: float | None) -> Iterator[AudioPiece]:
    limit = 60 * params.decode_minutes if seconds is None else seconds
    with _a_decoder() as decoder:
        decoder.ask(request)
        while "end" not in (said := decoder.answer(limit)):
            if "bad" in said:
                decoder.busy = False
                raise BadAudio(said["bad"])
            if "passing" in said:
                decoder.busy = False
                raise PassingFault(said["passing"])
            wave = decoder.samples(said["samples"], request["scratch"])
            yield AudioPiece(said["start"], said["seconds"], Clip(wave, said["rate"], said["truncated"]))
        decoder.busy = False


class DecoderEnded(BadAudio):
    """A decoder that crashed, was killed, or took too long; `blamed`: it was the file's doing."""

    def __init__(self, reason: str, blamed: bool = True) -> None:
        super().__init__(reason)
        self.blamed = blamed


class _Decoder:
    """One process that decodes; busy from a question to the end of its answer."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH", "")]))
        environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        call = [sys.executable, "-m", "tonestack.features.decoder"]
        self.process = subprocess.Popen(
            call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd="/", bufsize=0
        )
        self.busy, self.deadline, self.limit = False, 0.0, 0.0
        self.answer(START)  # that it is there: what comes later is the file's own time

    def ask(self, request: dict[str, Any]) -> None:
        """Send a question."""
        text = json.dumps(request).encode()
        self.busy = True
        with suppress(BrokenPipeError):  # it has died: its answer will tell
            assert self.process.stdin is not None
            self.process.stdin.write(LENGTH.pack(len(text)) + text)

    def answer(self, limit: float) -> dict[str, Any]:
        """Return the next answer, which may take `limit` seconds with its samples."""
        self.deadline, self.limit = time.monotonic() + limit, limit
        length = LENGTH.unpack(self._bytes(LENGTH.size))[0]
        if length > LONGEST:
            raise DecoderEnded("the decoder crashed on it")
        said: dict[str, Any] = json.loads(self._bytes(length))
        return said

    def samples(self, count: int, scratch: str | None) -> np.ndarray:
        """Return float32 (count,), the samples behind an answer."""
        if count == 0:
            return np.zeros(0, np.float32)
        wave = GrowingWave(Path(scratch) if scratch else None)
        for start in range(0, count, BLOCK):
            block = np.empty(min(BLOCK, count - start), np.float32)
            self._fill(block.data.cast("B"))
            wave.append(block)
        return wave.finish()

    def _bytes(self, count: int) -> bytes:
        buffer = bytearray(count)
        self._fill(memoryview(buffer))
        return bytes(buffer)

    def _fill(self, view: memoryview) -> None:
        assert self.process.stdout is not None
        source = self.process.stdout.fileno()
        while len(view):
            if not select.select([source], [], [], max(0.0, self.deadline - time.monotonic()))[0]:
                raise DecoderEnded(_too_long(self.limit))
            count = os.readv(source, [view])
            if count == 0:
                self._say_death()
            view = view[count:]

    def _say_death(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.returncode == 1:  # Python's own error, said on stderr: the decoder could not begin
            raise UserError(f"the process that decodes recordings does not start: {sys.executable} (see above)")
        if self.process.returncode in KILLED:
            raise DecoderEnded("the decoder was killed, for a lack of memory perhaps", blamed=False)
        raise DecoderEnded("the decoder crashed on it")

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _too_long(seconds: float) -> str:
    return f"the decoder does not end within {seconds / 60:g} minutes (audio.decode_minutes)"


_idle: list[_Decoder] = []  # of this process; each is used by one thread at a time
_lock = threading.Lock()


@contextmanager
def _a_decoder() -> Iterator[_Decoder]:
    """Yield a decoder that is idle or new; one that has not answered to the end is ended."""
    with _lock:
        decoder = _idle.pop() if _idle else _Decoder()
    try:
        yield decoder
    finally:
        if decoder.busy or decoder.process.poll() is not None:
            decoder.end()
        else:
            with _lock:
                _idle.append(decoder)


@atexit.register
def close() -> None:
    """End the decoders that are idle."""
    with _lock:
        while _idle:
            _idle.pop().end()
