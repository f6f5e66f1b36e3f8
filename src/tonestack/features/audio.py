"""Decoding: any file that libsndfile reads becomes one mono float32 wave, in bounded memory.

Headers are not trusted: a file is read block by block until it ends, so that a size field of 0xFFFFFFFF costs
nothing. A file that cannot be used raises `BadAudio` with the reason. A fault of the system (a full disk, no memory,
no file handles, an input error) raises `PassingFault`: it says nothing about the file and is never remembered.
"""

import errno
import math
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tonestack.base.errors import UserError
from tonestack.features.sound_files import opened
from tonestack.settings.data_config import AudioParams

import numpy as np
import soundfile
import soxr

BLOCK = 1 << 22  # samples (all channels together) held at once while decoding: 16 MiB
SALVAGE = 4096  # samples read at once from a file that the decoder gives up on
IN_MEMORY = 1 << 25  # a wave longer than this (12 minutes at 44.1 kHz) goes to a file on disk
LOUDEST = 1e12  # beyond any integer full scale; larger values overflow a float32 power spectrum
# What the system says of a file that is not there, not to be read, or no file:
OF_THE_FILE = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.EILSEQ),
}
MISSING = "the file is missing"
PADDING = 2 * 1152  # samples that an MP3 or MP2 may lack at its end
USUAL = 48_000  # Hz; silence at a higher rate costs a FLAC file next to nothing
RATES = (1_000, 768_000)  # Hz; outside, the header is damaged and resampling would multiply the length


class BadAudio(Exception):  # noqa: N818  (it describes the file, not the program)
    """A recording that cannot be used; the message is the reason, without the file's name."""


class PassingFault(UserError):  # noqa: N818  (as BadAudio)
    """A fault of the system while a recording was read; another time the same file may be read."""

    @classmethod
    def of(cls, path: Path | str, error: BaseException) -> "PassingFault":
        """The fault in one line."""
        reason = "no memory is left" if isinstance(error, MemoryError) else _one_line(error)
        return cls(f"{path}: {reason} while it was read; run again when that has passed: what is done is kept")


class Clip(NamedTuple):
    """A decoded recording: `wave` float32 (n,), its native `rate` in Hz, and whether the file ends early."""

    wave: np.ndarray
    rate: int
    truncated: bool

    def piece(self, start: float, end: float) -> "Clip":
        """The recording from `start` to `end` (s; NaN: its own); `BadAudio` if it ends before `start`."""
        first = 0 if math.isnan(start) else round(start * self.rate)
        last = len(self.wave) if math.isnan(end) else min(round(end * self.rate), len(self.wave))
        if first >= last:
            raise BadAudio(f"the piece begins at {start:g} s, its recording ends at {len(self.wave) / self.rate:g} s")
        return self if last - first == len(self.wave) else self._replace(wave=self.wave[first:last])


class AudioPiece(NamedTuple):
    """A part of a recording: where it begins and how long it lasts in seconds, and its decoded samples."""

    start: float
    seconds: float
    clip: Clip


def decode(path: Path, params: AudioParams) -> tuple[np.ndarray, int]:
    """Decode one file to its mono mix: wave float32 (n,), n >= 1, and its native rate in Hz.

    Raises `BadAudio` if nothing is usable.
    """
    clip = decode_clip(path, params)
    return clip.wave, clip.rate


def decode_clip(path: Path, params: AudioParams, root: Path | None = None, scratch: Path | None = None) -> Clip:
    """Decode one file; `truncated` is set if it is shorter than its header says.

    root: where given, a link that leads out of this folder is refused.
    scratch: folder for the temporary file behind a very long wave (default: the system's).
    Raises `BadAudio`.
    """
    _check_file(path, root)
    with _reasons(path):
        try:
            samples, rate, truncated = _read(path, params, scratch, BLOCK)
        except soundfile.SoundFileError:  # damaged in the middle: read again in small steps, up to the damage
            samples, rate, truncated = _read(path, params, scratch, SALVAGE)
    if len(samples) == 0:
        raise BadAudio("no samples")
    return Clip(_prepared(samples.finish(), params), rate, truncated)


def length(path: Path, root: Path | None = None) -> float:
    """Return the seconds of a file: what its header promises, or what can be decoded if that ends earlier.

    Of most files the last sample alone is decoded. Raises `BadAudio`.
    """
    _check_file(path, root)
    with _reasons(path):
        with opened(path) as sound:
            _check_header(sound, AudioParams())
            frames, rate = sound.frames, sound.samplerate
            whole = _holds_its_end(sound)
        if whole:
            return frames / rate
        with opened(path) as sound:  # anew: a failed seek may leave a decoder astray
            return sum(len(block) for block in _steps(sound, one=False)) / rate


def _holds_its_end(sound: soundfile.SoundFile) -> bool:
    try:
        sound.seek(sound.frames - 1)
        return len(sound.read(1)) == 1
    except (soundfile.SoundFileError, OverflowError):
        return False


def pieces(path: Path, params: AudioParams, whole: float, window: float) -> Iterator[AudioPiece]:
    """Decode one file in bounded memory: whole up to `whole` seconds, a longer one in pieces of `window` seconds.

    A file in one piece has exactly the samples of `decode_clip`; the pieces of a longer one are trimmed and normalised
    one by one, as separate files would be. Raises `BadAudio`, perhaps after some pieces.
    """
    _check_file(path, None)
    with _reasons(path), opened(path) as sound:
        _check_header(sound, params)
        rate, limit = sound.samplerate, round(whole * sound.samplerate)
        held, first, count, length = list[np.ndarray](), 0, 0, max(1, round(window * rate))
        for block in _steps(sound, _opens_cancelling(path)):
            held.append(block)
            count += len(block)
            _check_length(first + count, rate, params)
            if count > limit:
                wave, cut, limit = np.concatenate(held), (count - 1) // length * length, length
                for at in range(0, cut, length):
                    clip = Clip(_prepared(wave[at : at + length].copy(), params), rate, False)
                    yield AudioPiece((first + at) / rate, length / rate, clip)
                held, first, count = [wave[cut:]], first + cut, count - cut
        if not held:
            raise BadAudio("no samples")
        clip = Clip(_prepared(np.concatenate(held), params), rate, first + count < _promised(path, sound))
        yield AudioPiece(first / rate, count / rate, clip)


def resample(wave: np.ndarray, from_rate: int, to_rate: int, scratch: Path | None = None) -> np.ndarray:
    """Resample float32 (n,) to float32 (ceil(n * to_rate / from_rate),) with soxr's HQ setting.

    The length is librosa.resample's. Long waves stream through the resampler block by block.
    """
    if from_rate == to_rate:
        return wave
    length = -(-len(wave) * to_rate // from_rate)
    samples = GrowingWave(scratch)
    if len(wave) <= BLOCK:
        samples.append(soxr.resample(wave, from_rate, to_rate, quality="HQ"))
    else:
        stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")
        for block in blocks(wave):
            samples.append(stream.resample_chunk(np.ascontiguousarray(block)))
        samples.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    samples.append(np.zeros(max(0, length - len(samples)), np.float32))
    return samples.finish()[:length]


def blocks(wave: np.ndarray) -> Iterator[np.ndarray]:
    """Yield views of `BLOCK` samples each, in order."""
    for start in range(0, len(wave), BLOCK):
        yield wave[start : start + BLOCK]


def peak(wave: np.ndarray) -> float:
    """Return the largest absolute sample, without a temporary array of the wave's size."""
    return max((_peak_of(block) for block in blocks(wave)), default=0.0)


class GrowingWave:
    """A float32 wave that grows: in memory while short, in an unnamed temporary file once long."""

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch
        self._parts: list[np.ndarray] = []
        self._file: BinaryIO | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, part: np.ndarray) -> None:
        """Add float32 (m,) at the end."""
        self._parts.append(part)
        self._length += len(part)
        if self._length > IN_MEMORY:
            self._spill()

    def finish(self) -> np.ndarray:
        """Return everything appended: float32 (n,), memory-mapped when long."""
        if self._file is None:
            return self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        self._spill()
        self._file.flush()
        return np.memmap(self._file, np.float32, "r+", shape=(self._length,))

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115  (its name is gone already)
        for part in self._parts:
            self._file.write(np.ascontiguousarray(part, np.float32).data)
        self._parts = []


def _check_file(path: Path, root: Path | None) -> None:
    try:
        if root is not None and leads_out(path, root):
            raise BadAudio("a link that leads out of the competition's folder")
        status = os.stat(path)
    except (OSError, ValueError) as error:
        if is_passing(error):
            raise PassingFault.of(path, error) from None
        missing = isinstance(error, FileNotFoundError)
        raise BadAudio(MISSING if missing else f"cannot be opened ({_one_line(error)})") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadAudio("not a regular file")  # opening a FIFO would block forever
    if status.st_size == 0:
        raise BadAudio("an empty file (0 bytes)")


def leads_out(path: Path | str, root: Path) -> bool:
    """True if a link takes this path out of the folder `root`."""
    return not os.path.realpath(path).startswith(_real_folder(root))


def is_passing(error: BaseException) -> bool:
    """True if an error of opening or reading a file is the system's, not the file's."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in OF_THE_FILE)


@cache
def _real_folder(root: Path) -> str:
    return os.path.join(os.path.realpath(root), "")


def _check_header(sound: soundfile.SoundFile, params: AudioParams) -> None:
    if sound.channels > params.max_channels:
        raise BadAudio(f"{sound.channels} channels (at most {params.max_channels}: audio.max_channels)")
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        raise BadAudio(f"a sample rate of {sound.samplerate} Hz")
    if sound.frames == 0:
        raise BadAudio("no samples (0 frames)")


def _check_length(count: int, rate: int, params: AudioParams) -> None:
    """Refuse a recording that goes on too long: its samples are bounded, too, whatever rate its header claims."""
    if count > params.max_seconds * rate:
        raise BadAudio(f"longer than {params.max_seconds:g} seconds (audio.max_seconds)")
    if count > params.max_seconds * USUAL:
        most = round(params.max_seconds * USUAL)
        raise BadAudio(f"more than {most:,} samples, as many as audio.max_seconds has at {USUAL:,} Hz")


def _read(path: Path, params: AudioParams, scratch: Path | None, step: int) -> tuple[GrowingWave, int, bool]:
    """Read the mono mix `step` samples at a time; return it, its rate and whether the file ends early."""
    samples, more, one = GrowingWave(scratch), True, False
    with opened(path) as sound:
        _check_header(sound, params)
        size = max(1, step // sound.channels)
        while more:
            try:
                block = sound.read(size, dtype="float32", always_2d=True)  # (m, C)
            except soundfile.SoundFileError:
                if len(samples) == 0 or step != SALVAGE:
                    raise
                return samples, sound.samplerate, True
            if len(block):
                one = one if len(samples) else _cancels(block)
                samples.append(_mono(block[:, :1].copy() if one else block))
            _check_length(len(samples), sound.samplerate, params)
            more = len(block) == size
        return samples, sound.samplerate, len(samples) < _promised(path, sound)


def _steps(sound: soundfile.SoundFile, one: bool) -> Iterator[np.ndarray]:
    """Yield the mono mix (`one`: the first channel) in small steps, to the end or to damage behind the first step."""
    size, start = max(1, SALVAGE // sound.channels), True
    while True:
        try:
            block = sound.read(size, dtype="float32", always_2d=True)  # (m, C)
        except soundfile.SoundFileError:
            if start:
                raise
            return
        if len(block):
            yield _mono(block[:, :1].copy() if one else block)
        if len(block) < size:
            return
        start = False


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Turn the errors that a decoder may raise into `BadAudio`, those of the system into `PassingFault`.

    A decoder does not say why it could not read: the file is read once more without it to know whose fault that was.
    """
    try:
        yield
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, MemoryError) as error:
        cause = error if is_passing(error) else _unreadable(path)
        if cause is not None and is_passing(cause):
            raise PassingFault.of(path, cause) from None
        raise BadAudio(f"cannot be decoded ({_one_line(error)})") from None


def _unreadable(path: Path) -> OSError | None:
    """Return the error with which reading all of a file ends, None if it can be read."""
    try:
        with open(path, "rb", buffering=0) as handle:
            while handle.read(BLOCK):
                pass
    except OSError as error:
        return error
    return None


def _cancels(block: np.ndarray) -> bool:
    """True if the channels of float32 (m, C) are each other's opposite, so that their mean is all but silent."""
    if block.shape[1] == 1 or not _peak_of(block) <= LOUDEST:
        return False
    return _peak_of(block.mean(axis=1, dtype=np.float32)) < 1e-3 * _peak_of(block)


def _opens_cancelling(path: Path) -> bool:
    """True if the channels cancel in the block by which `_read` decides."""
    with opened(path) as sound:
        if sound.channels == 1:
            return False
        try:
            block = sound.read(max(1, BLOCK // sound.channels), dtype="float32", always_2d=True)
        except soundfile.SoundFileError:  # damaged: what can be read is mixed as usual
            return False
    return len(block) > 0 and _cancels(block)


def _mono(block: np.ndarray) -> np.ndarray:
    """Mix float32 (m, C) down to (m,); NaN, infinite and absurd samples are refused."""
    if not _peak_of(block) <= LOUDEST:  # also true for NaN
        raise BadAudio("NaN, infinite or absurdly large samples")
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _peak_of(block: np.ndarray) -> float:
    return float(np.maximum(block.max(), -block.min()))


def _promised(path: Path, sound: soundfile.SoundFile) -> int:
    """Return the number of frames in the file's header (libsndfile already cuts a WAV's count to the file's size)."""
    if getattr(sound, "subtype", "").startswith("MPEG"):  # whose headers count the encoder's padding, too
        return sound.frames - PADDING
    if sound.format not in ("WAV", "WAVEX"):
        return sound.frames
    present, claimed = _data_chunk(path)
    return sound.frames + 1 if claimed > present else sound.frames


def _data_chunk(path: Path) -> tuple[int, int]:
    """Return a WAV's data bytes: those present in the file and those its header claims."""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        order = ">" if handle.read(12)[:4] == b"RIFX" else "<"
        while len(header := handle.read(8)) == 8:
            name, claimed = struct.unpack(f"{order}4sI", header)
            if name == b"data":
                return size - handle.tell(), claimed
            handle.seek(claimed + claimed % 2, os.SEEK_CUR)
    return size, 0


def _prepared(wave: np.ndarray, params: AudioParams) -> np.ndarray:
    """Trim and normalise float32 (n,) as the settings say; at least one sample stays."""
    if params.trim_db is None and not params.peak_normalise:
        return wave
    loudest = peak(wave)
    if loudest == 0.0:
        return wave
    if params.trim_db is not None:
        wave = _trimmed(wave, loudest * 10 ** (-params.trim_db / 20))
    if params.peak_normalise:
        for block in blocks(wave):  # in place and in blocks: a long wave is a mapped file
            block /= np.float32(loudest)
    return wave


def _trimmed(wave: np.ndarray, threshold: float) -> np.ndarray:
    """Cut samples quieter than `threshold` before the first and after the last louder sample."""
    first = next(i * BLOCK + _first_loud(b, threshold) for i, b in enumerate(blocks(wave)) if _peak_of(b) >= threshold)
    backwards = wave[::-1]
    last = next(
        i * BLOCK + _first_loud(b, threshold) for i, b in enumerate(blocks(backwards)) if _peak_of(b) >= threshold
    )
    return wave[first : len(wave) - last]


def _first_loud(block: np.ndarray, threshold: float) -> int:
    return int(np.argmax(np.abs(block) >= threshold))


def _one_line(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())[:120]
