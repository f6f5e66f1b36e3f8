"""Excerpts of clips: a few seconds around the loudest part, and their spectrograms.

Files are named by what they hold (`audio/<hash of the recording>-<milliseconds>.flac`), so that a rerun makes only what
is new; those that no page names any more are removed. FLAC is written in a few milliseconds and every browser plays it.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tonestack.base import workers
from tonestack.base.console import bar
from tonestack.base.files import atomic, file_hash
from tonestack.features import audio, watched
from tonestack.features.audio import BadAudio
from tonestack.features.frontends import logmel
from tonestack.report.material import Material
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import TIMES

import joblib
import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

AUDIO, PICTURES = "audio", "spectrograms"  # folders of the report
RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # what every browser plays
RATE = 32_000  # Hz, of the others
BANDS, COLUMNS, RANGE_DB = 96, 640, 70.0  # of a spectrogram picture; its range below the loudest


@dataclass(frozen=True)
class Excerpt:
    """An excerpt: file below the report's folder, spectrogram's file ('' without), start, length, the clip's length."""

    audio: str
    picture: str
    start: float
    seconds: float
    whole: float


def make(material: Material, numbers: Sequence[int], seconds: float, pictures: bool = False) -> dict[int, Excerpt]:
    """Excerpts of some clips, in parallel; clips that cannot be decoded are left out."""
    clips, root, folder = material.clips, material.call.root, material.folder
    usable = [n for n in numbers if clips["status"].iloc[n] != "bad" and clips["path"].iloc[n]]
    places = [(root / path, start, end) for path, start, end in clips.iloc[usable][["path", *TIMES]].to_numpy()]
    hashes = [clips["audio_hash"].iloc[n] or _hash(*place) for n, place in zip(usable, places, strict=True)]
    once = dict(zip(hashes, places, strict=True))  # one recording may have two names
    by_file: dict[Path, dict[str, tuple[float, float]]] = {}
    for name, (path, start, end) in once.items():
        by_file.setdefault(path, {})[name] = start, end
    calls = (joblib.delayed(_of_file)(root, path, own, folder, seconds, pictures) for path, own in by_file.items())
    found: dict[str, Excerpt | None] = {}
    with threadpool_limits(1), bar(len(once), "report", "clips") as progress:  # small products: more threads stall
        for sounds in joblib.Parallel(workers.cores(), prefer="threads", return_as="generator")(calls):
            found |= sounds
            progress.update(len(sounds))
    return {n: sound for n, name in zip(usable, hashes, strict=True) if (sound := found[name]) is not None}


def _hash(path: Path, start: float, end: float) -> str:
    """Content hash of a file, and which piece of it; '' where it cannot be read."""
    try:
        return file_hash(path) + ("" if np.isnan(start) and np.isnan(end) else f"-{start:g}-{end:g}")
    except OSError:
        return ""


def sweep(folder: Path, kept: Iterable[Excerpt]) -> None:
    """Remove files that no page uses."""
    named = set(itertools.chain.from_iterable((s.audio, s.picture) for s in kept))
    for path in [*(folder / AUDIO).glob("*.flac"), *(folder / PICTURES).glob("*.png")]:
        if path.relative_to(folder).as_posix() not in named:
            path.unlink()


def _of_file(
    root: Path, path: Path, places: dict[str, tuple[float, float]], folder: Path, seconds: float, picture: bool
) -> dict[str, Excerpt | None]:
    """Return the excerpts of one file's clips, which is decoded once; None where a clip cannot be decoded.

    places: content hash of each clip: its start and end in the file (s; NaN: the whole file).
    """
    decoded = cache(lambda: watched.decode_clip(path, AudioParams(), root))
    found: dict[str, Excerpt | None] = {}
    for name, (start, end) in places.items():
        stem = f"{name}-{round(seconds * 1000)}"
        flac, png = folder / AUDIO / f"{stem}.flac", folder / PICTURES / f"{stem}.png"
        try:
            if not (flac.is_file() and (png.is_file() or not picture)):
                write(decoded().piece(start, end), seconds, flac, png if picture else None)
            found[name] = _read(flac, png if picture else None)
        except BadAudio:
            found[name] = None
    return found


def _read(flac: Path, png: Path | None) -> Excerpt:
    """The excerpt that lies in a file."""
    with soundfile.SoundFile(flac) as sound:
        length, said = sound.frames / sound.samplerate, sound.comment
    first, whole = (float(part) for part in said.split())
    return Excerpt(f"{AUDIO}/{flac.name}", f"{PICTURES}/{png.name}" if png else "", first, length, whole)


def write(clip: audio.Clip, seconds: float, flac: Path, png: Path | None) -> None:
    """Write the excerpt, its start and the clip's length as its comment, and its spectrogram if asked for."""
    first, last = loudest(clip.wave, round(seconds * clip.rate))
    wave, rate = np.asarray(clip.wave[first:last]), clip.rate
    if rate not in RATES:
        wave, rate = audio.resample(wave, rate, RATE), RATE
    wave = wave / max(1.0, audio.peak(wave))
    if png is not None:
        write_spectrogram(wave, rate, png)
    with atomic(flac) as temporary, soundfile.SoundFile(temporary, "w", rate, 1, "PCM_16", format="FLAC") as sound:
        sound.comment = f"{first / clip.rate:.3f} {len(clip.wave) / clip.rate:.3f}"
        sound.write(wave)


def loudest(wave: np.ndarray, length: int) -> tuple[int, int]:
    """First and last sample of the piece of `length` samples with the most energy, to a tenth of its length."""
    if len(wave) <= length:
        return 0, len(wave)
    hop = max(1, length // 10)
    count = len(wave) // hop
    energy = np.add.reduceat(np.square(wave[: count * hop], dtype=np.float64), np.arange(0, count * hop, hop))
    total = np.concatenate([[0], np.cumsum(energy)])
    first = int((total[10:] - total[:-10]).argmax()) * hop if count >= 10 else 0
    return min(first, len(wave) - length), min(first, len(wave) - length) + length


@cache
def _frontend(rate: int, hop: int) -> logmel.Frontend:
    fft = 1 << max(9, (rate // 25).bit_length() - 1)
    hop = min(hop, fft)
    return logmel.Frontend(logmel.Params(sample_rate=rate, n_fft=fft, hop_length=hop, n_mels=BANDS, fmin=20))


@cache
def _palette() -> list[int]:
    from matplotlib import colormaps

    colours = (colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(int)
    return [int(value) for value in colours.ravel()]


def write_spectrogram(wave: np.ndarray, rate: int, path: Path) -> None:
    """A log-mel spectrogram as a picture of 256 colours, low frequencies at the bottom."""
    from PIL import Image

    x = _frontend(rate, max(64, -(-len(wave) // COLUMNS))).exact(wave).T[::-1]  # (BANDS, T)
    level = np.clip((x - x.max()) / RANGE_DB + 1, 0, 1)
    picture = Image.fromarray((level * 255).astype(np.uint8), mode="L")
    picture.putpalette(_palette())
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG")
