"""What the recordings of a folder are: suffixes, rates, channels, lengths, and how far up their sound goes."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.competition.survey.finding import Finding
from tonestack.features.recording_files import left_out, walk

import numpy as np
import soundfile

HEADERS, DECODED = 300, 12  # files whose header is read, and files of which some seconds are decoded
SECONDS, BLOCK = 20.0, 4096  # decoded of each, and the samples of one spectrum
FLOOR = 1e-8  # a band with less power than this share of the loudest band's holds no sound (80 dB below)
LONG = 60.0  # s; crops see little of longer recordings
Header = tuple[int, int, float]  # rate, channels, seconds


def paths_below(folder: Path) -> list[str]:
    """The recordings below a folder, as paths from it, sorted."""
    found = [path for _, files in walk(folder) for path in files if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def survey(folder: Path, paths: list[str]) -> list[Finding]:
    """What is seen of recordings `paths` below `folder`; a folder without any is a `UserError`."""
    if not paths:
        raise UserError(f"audio={folder}: holds no recording; {left_out(folder) or 'check the folder'}")
    some = spread(paths, HEADERS)
    headers = [header for path in some if (header := _header(folder / path))]
    found = [_files(folder, paths), _rates(headers), _lengths(headers)]
    if len(headers) < len(some):
        said = f"{len(some) - len(headers)} of {len(some)} cannot be read"
        found.append(
            Finding("unreadable", said, doubt="training stops at such files; audio.bad_files=skip leaves them out")
        )
    edges = [edge for path in spread(paths, DECODED) if (edge := band_edge(folder / path)) is not None]
    return [*found, *_band(edges, [rate for rate, _, _ in headers])]


def spread(items: list[str], count: int) -> list[str]:
    """At most `count` items, evenly chosen."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).astype(int))]


def band_edge(path: Path) -> float | None:
    """The highest frequency (Hz) that holds sound in the first seconds of a file; None where nothing can be decoded."""
    try:
        with soundfile.SoundFile(path) as sound:
            wave = sound.read(int(SECONDS * sound.samplerate), dtype="float32", always_2d=True).mean(axis=1)
            rate = sound.samplerate
    except (soundfile.SoundFileError, OSError, ValueError):
        return None
    blocks = len(wave) // BLOCK
    if not blocks:
        return None
    frames = wave[: blocks * BLOCK].reshape(blocks, BLOCK) * np.hanning(BLOCK)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0)
    loud = np.flatnonzero(power > FLOOR * power.max())
    return float(min(loud[-1] + 1, BLOCK / 2) * rate / BLOCK) if len(loud) and power.max() > 0 else None


def _header(path: Path) -> Header | None:
    try:
        with soundfile.SoundFile(path) as sound:
            return sound.samplerate, sound.channels, sound.frames / sound.samplerate
    except (soundfile.SoundFileError, OSError, ZeroDivisionError):
        return None


def _files(folder: Path, paths: list[str]) -> Finding:
    suffixes = Counter(Path(path).suffix for path in paths)
    return Finding("recordings", f"{len(paths)} below {folder}: {_counts(suffixes)}", doubt=left_out(folder))


def _rates(headers: list[Header]) -> Finding:
    rates = Counter(rate for rate, _, _ in headers)
    channels = Counter(count for _, count, _ in headers)
    said = f"{_counts({f'{rate:,} Hz': n for rate, n in rates.items()})}; channels {_counts(channels)}"
    doubt = "several rates: does the rate tell the class, or train from test?" if len(rates) > 1 else ""
    return Finding("rates", said, doubt=doubt)


def _lengths(headers: list[Header]) -> Finding:
    seconds = np.array([length for _, _, length in headers] or [0.0])
    said = f"{seconds.min():.3g} to {seconds.max():.3g} s, half of them below {np.median(seconds):.3g} s"
    doubt = ""
    if seconds.max() > LONG:
        doubt = "long ones: does a label hold for the whole recording, or for a piece of it?"
    elif seconds.min() == 0:
        doubt = "some are empty"
    return Finding("lengths", said, doubt=doubt)


def _band(edges: list[float], rates: list[int]) -> list[Finding]:
    """How far up the sound goes; in doubt if far less than the rate could hold."""
    if not edges or not rates:
        return []
    edge, could = float(np.median(edges)), max(rates) / 2
    said = f"sound up to {edge:,.0f} Hz in {len(edges)} recordings, of {could:,.0f} that the rate can hold"
    empty = edge < 0.7 * could
    doubt = (
        f"the top is empty: sample_rate={2 * round(edge * 1.05 / 500) * 500} fits the frontends to it" if empty else ""
    )
    return [Finding("band", said, doubt=doubt)]


def _counts(counts: dict[str, int] | Counter[str] | Counter[int]) -> str:
    """`a (3), b (1)`, the most frequent first."""
    ranked: Iterable[tuple[object, int]] = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} ({count})" for name, count in ranked)
