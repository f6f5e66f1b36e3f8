"""The process that decodes for `watched`: requests come in by stdin, samples go out by stdout.

A message is its length (4 bytes), a json object, and behind it the raw float32 samples that it counts: a decoder that
has been taken over by a file can send numbers, and nothing that the other side would run.
"""

import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tonestack.base.workers import end_with
from tonestack.features.audio import AudioPiece, BadAudio, Clip, PassingFault, blocks, decode_clip, length, pieces
from tonestack.settings.data_config import AudioParams

import numpy as np

LENGTH = struct.Struct("<I")  # of the json that follows


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller is stopped, and then closes stdin
    end_with(os.getppid())
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    _send(answers, {"ready": True}, np.zeros(0, np.float32))
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        request = json.loads(requests.read(LENGTH.unpack(head)[0]))
        for message, wave in _answers(request):
            _send(answers, message, wave)


def _send(answers: BinaryIO, message: dict[str, Any], wave: np.ndarray) -> None:
    text = json.dumps(message).encode()
    answers.write(LENGTH.pack(len(text)) + text)
    for block in blocks(wave):
        answers.write(np.ascontiguousarray(block, np.float32).data)
    answers.flush()


def _answers(request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    nothing = np.zeros(0, np.float32)
    try:
        for piece in _pieces(request):
            clip = piece.clip
            said = {"start": piece.start, "seconds": piece.seconds, "rate": clip.rate, "truncated": clip.truncated}
            yield said | {"samples": len(clip.wave)}, clip.wave
    except BadAudio as error:
        yield {"bad": str(error)}, nothing
    except PassingFault as error:
        yield {"passing": str(error)}, nothing
    else:
        yield {"end": True}, nothing


def _pieces(request: dict[str, Any]) -> Iterator[AudioPiece]:
    path, params = Path(request["path"]), AudioParams(**request["audio"])
    if request["whole"] is not None:
        yield from pieces(path, params, request["whole"], request["window"])
        return
    root, scratch = (Path(name) if name else None for name in (request["root"], request["scratch"]))
    if request.get("length"):
        yield AudioPiece(0.0, length(path, root), Clip(np.zeros(0, np.float32), 0, False))
        return
    clip = decode_clip(path, params, root, scratch)
    yield AudioPiece(0.0, len(clip.wave) / clip.rate, clip)


if __name__ == "__main__":
    main()
