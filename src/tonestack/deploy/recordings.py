"""Tag recordings of any length: find the files, decode them piece by piece, tag batches of bounded size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.features import watched
from tonestack.features.audio import AudioPiece, BadAudio, Clip
from tonestack.features.recording_files import left_out, walk
from tonestack.settings.data_config import AudioParams

import numpy as np

BATCH_SECONDS, BATCH_PIECES = 300.0, 128  # of audio per batch; they bound the memory

Tag = Callable[[Sequence[Clip], Sequence[str]], np.ndarray]  # clips and their files' paths -> probabilities (N, C)


@dataclass
class TaggedRecording:
    """One recording with its tags.

    starts, seconds, rows: one entry per piece: its start, its length, its probabilities (C,).
    error: reason why the recording, or its rest after the pieces, is unusable. cut: the file ends early.
    """

    path: Path
    starts: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    cut: bool = False
    error: str = ""

    @property
    def length(self) -> float:
        """Total seconds."""
        return sum(self.seconds)

    @property
    def tags(self) -> np.ndarray:
        """Probabilities (C,) of the whole: the mean over the pieces, weighted by their lengths."""
        return np.average(self.rows, axis=0, weights=self.seconds)


def find(paths: Sequence[Path]) -> list[Path]:
    """Return the given files and all recordings in the given folders, sorted, without hidden ones."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        inside = sorted(file for _, files in walk(path) for file in files) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{left_out(path) or path}: no recording in this folder")
        found += inside
    return list(dict.fromkeys(found))


def skipped(paths: Sequence[Path]) -> list[str]:
    """Return a line for each folder in which files are left out."""
    return [line for path in paths if path.is_dir() and (line := left_out(path))]


def tagged(
    paths: Iterable[Path], tag: Tag, audio: AudioParams, whole: float, window: float
) -> Iterator[TaggedRecording]:
    """Tag recordings in order, each yielded after its last piece; an unusable one has `error`."""
    for batch in _batches(_decoded(paths, audio, whole, window)):
        heard = [(record, piece) for record, piece in batch if piece is not None]
        clips, names = [piece.clip for _, piece in heard], [str(record.path) for record, _ in heard]
        rows = iter(tag(clips, names) if heard else ())
        for record, piece in batch:
            if piece is None:
                yield record
                continue
            record.starts.append(piece.start)
            record.seconds.append(piece.seconds)
            record.rows.append(next(rows))
            record.cut |= piece.clip.truncated


def _decoded(
    paths: Iterable[Path], audio: AudioParams, whole: float, window: float
) -> Iterator[tuple[TaggedRecording, AudioPiece | None]]:
    """Yield every piece of every recording, then None after its last one."""
    for path in paths:
        record = TaggedRecording(path)
        try:
            for piece in watched.pieces(path, audio, whole, window):
                yield record, piece
        except BadAudio as error:
            record.error = str(error)
        yield record, None


def _batches(
    events: Iterable[tuple[TaggedRecording, AudioPiece | None]],
) -> Iterator[list[tuple[TaggedRecording, AudioPiece | None]]]:
    batch: list[tuple[TaggedRecording, AudioPiece | None]] = []
    seconds, count = 0.0, 0
    for record, piece in events:
        batch.append((record, piece))
        seconds, count = (seconds + piece.seconds, count + 1) if piece else (seconds, count)
        if seconds >= BATCH_SECONDS or count >= BATCH_PIECES:
            yield batch
            batch, seconds, count = [], 0.0, 0
    if batch:
        yield batch
