"""The work of one worker process: decode a chunk of clips once, write the frames of every frontend to part files.

It imports neither pandas nor torch, because every worker process pays for its imports.
A part is `<folder>/<key>.bin` (frames of the chunk's clips end to end) and `<key>.json` (rows and sums, written last).
While a clip is decoded, `<pid>.doing` names it: if a worker dies or hangs, the clip is known.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from tonestack.base.workers import end_with
from tonestack.features.audio import BadAudio, Clip, PassingFault, blocks, decode_clip, peak, resample
from tonestack.features.frontends import FrontendProtocol
from tonestack.settings.data_config import AudioParams

import numpy as np

SUM_ROWS = 1 << 16  # frames summed at once in float64


@dataclass(frozen=True)
class Chunk:
    """Some consecutive clips: `key` names their part files and changes with their contents."""

    key: str
    ids: list[str]
    paths: list[str]
    train: list[bool]


@dataclass(frozen=True)
class DecodeContext:
    """Inputs of decoding that all clips share: the competition's root, the settings, a scratch folder.

    fatal: clips that crash or block the decoding process, and the reason. caller: the id of the parent process.
    """

    root: Path
    audio: AudioParams
    scratch: Path
    fatal: dict[str, str] = field(default_factory=dict)
    caller: int = field(default_factory=os.getpid)


def run_chunk(chunk: Chunk, frontends: dict[Path, FrontendProtocol], context: DecodeContext) -> Chunk:
    """Write one part for every frontend (folder -> frontend); return the chunk."""
    end_with(context.caller)
    with ExitStack() as stack:
        mark = stack.enter_context(_marker(context.scratch / f"{os.getpid()}.doing"))
        parts = [stack.enter_context(_Part(folder, chunk.key, f)) for folder, f in frontends.items()]
        for clip_id, path, train in zip(chunk.ids, chunk.paths, chunk.train, strict=True):
            mark(path)
            _run_clip(clip_id, path, train, parts, context)
    return chunk


def finish_chunk(chunk: Chunk, folder: Path, frontend: FrontendProtocol, maker: Any) -> None:
    """Write a chunk's part from the samples that a worker has left in `folder`/samples, which are then removed.

    maker: computes the frontend's features on a device; see `gpu_logmel`.
    """
    left = folder / "samples" / f"{chunk.key}.bin"
    rows = json.loads(left.with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    lengths = [row["frames"] for row in rows]
    samples = np.memmap(left, np.float32, "r") if sum(lengths) else np.zeros(0, np.float32)
    with _Part(folder, chunk.key, frontend) as part:
        counts = maker.counts(lengths)
        part.rows = [row | {"frames": n} for row, n in zip(rows, counts, strict=True)]
        part.count = sum(n for n, train in zip(counts, chunk.train, strict=True) if train)
        for frames, sums in maker(np.split(samples, np.cumsum(lengths)[:-1]), chunk.train):
            part.write(frames)
            part.sums += sums
    left.unlink()


@contextmanager
def _marker(file: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that notes the clip being decoded in `file`, so that the clip is known after a crash."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def mark(path: str) -> None:
        text = path.encode()
        os.pwrite(handle, text, 0)
        os.ftruncate(handle, len(text))

    try:
        yield mark
    finally:  # also after an exception: only the death of the process leaves the file
        os.close(handle)
        file.unlink(missing_ok=True)


def _run_clip(clip_id: str, path: str, train: bool, parts: list["_Part"], context: DecodeContext) -> None:
    row: dict[str, Any] = {"clip_id": clip_id, "seconds": 0.0, "status": "bad", "reason": "", "audio_hash": ""}
    try:
        if path in context.fatal:
            raise BadAudio(context.fatal[path])
        clip = decode_clip(context.root / path, context.audio, context.root, context.scratch)
    except BadAudio as error:
        for part in parts:
            part.rows.append(row | {"reason": str(error), "frames": 0})
        return
    row |= {"seconds": len(clip.wave) / clip.rate, "audio_hash": _audio_hash(clip.wave, clip.rate)}
    row["status"], row["reason"] = ("truncated", "shorter than its header says") if clip.truncated else ("ok", "")
    try:
        made = list(features(clip, [part.frontend for part in parts], context.scratch))
    except (OSError, MemoryError) as error:
        raise PassingFault.of(context.root / path, error) from None
    for part, frames in zip(parts, made, strict=True):
        part.add(frames, row, train)


def features(clip: Clip, frontends: Sequence[FrontendProtocol], scratch: Path | None = None) -> Iterator[np.ndarray]:
    """Yield one clip's frames (T, F) by every frontend; the wave is resampled once for each sample rate."""
    waves: dict[int, np.ndarray] = {}
    for frontend in frontends:
        rate = frontend.sample_rate
        if rate not in waves:
            waves[rate] = resample(clip.wave, clip.rate, rate, scratch)
        yield frontend(waves[rate])


def _audio_hash(wave: np.ndarray, rate: int) -> str:
    """Return the hash by which equal recordings are found; empty for silence, which is no recording of anything."""
    if peak(wave) == 0:
        return ""
    digest = sha256(str(rate).encode())  # twice as fast as blake2b where the processor has SHA instructions
    for block in blocks(wave):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()[:32]


class _Part:
    """One frontend's part file while it is written; whole or absent."""

    def __init__(self, folder: Path, key: str, frontend: FrontendProtocol) -> None:
        self.frontend = frontend
        self.rows: list[dict[str, Any]] = []
        self._final = folder / key
        self._temporary = folder / f".{key}.{os.getpid()}.tmp"  # its folder is removed once all parts are joined
        self.sums = np.zeros((2, frontend.width))  # of values and of their squares, train clips only
        self.count = 0
        self._handle: BinaryIO

    def __enter__(self) -> "_Part":
        self._handle = open(self._temporary, "wb")
        return self

    def add(self, features: np.ndarray, row: dict[str, Any], train: bool) -> None:
        """Append one clip's (T, F)."""
        self.write(features)
        self.rows.append(row | {"frames": len(features)})
        if train:
            self.count += len(features)
            for start in range(0, len(features), SUM_ROWS):
                values = features[start : start + SUM_ROWS].astype(np.float64)
                self.sums += values.sum(axis=0), np.square(values).sum(axis=0)

    def write(self, features: np.ndarray) -> None:
        """Append frames (t, F)."""
        self._handle.write(np.ascontiguousarray(features).data)

    def __exit__(self, kind: object, *error: object) -> None:
        self._handle.close()
        if kind is None:
            os.replace(self._temporary, self._final.with_suffix(".bin"))
            meta = {"rows": self.rows, "count": self.count, "sums": self.sums.tolist()}
            self._temporary.write_text(json.dumps(meta), encoding="utf-8")
            os.replace(self._temporary, self._final.with_suffix(".json"))
        self._temporary.unlink(missing_ok=True)
