"""Tag recordings with an exported model: `python predict_onnx.py FILE|DIR ... [model=FILE] [top=3] [format=json]`.

Needs onnxruntime, numpy and soundfile, nothing else. Recordings longer than a minute are cut every ten seconds, and
their tags are the mean over the pieces. Resampling is a windowed sinc: probabilities differ by about a thousandth from
those of a resampler of another make.
"""

import json
import math
import os
import stat
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

WHOLE, WINDOW = 60.0, 10.0  # seconds
RATES, CHANNELS = (1_000, 768_000), 64  # Hz and channels of recordings; outside, a header is damaged
STEP = 1 << 22  # samples (all channels together) decoded at once
JOINERS = "\u200c\u200d"  # joiners of letters and of emoji, which stay
PASSED, ATTENUATION = 0.913, 100.0  # share of the lower band that passes the resampler; dB of what is above that band
ROWS = 1 << 14  # samples made at once by the resampler


class Model:
    """An exported model with its metadata."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        facts = json.loads(self.session.get_modelmeta().custom_metadata_map["tonestack"])
        self.sample_rate: int = facts["sample_rate"]
        self.classes: list[str] = [str(name) for name in facts["classes"]]
        self.trim_db: float | None = facts["trim_db"]
        self.peak_normalise: bool = facts["peak_normalise"]

    def __call__(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Return probabilities (C,) of a mono wave float32 (n,), n >= 1."""
        wave = resample(self.prepared(wave), rate, self.sample_rate)
        row: np.ndarray = self.session.run(None, {"wave": wave[None]})[0][0]
        return row

    def prepared(self, wave: np.ndarray) -> np.ndarray:
        """Trimmed and normalised as in training."""
        peak = np.abs(wave).max()
        if peak > 0 and self.trim_db is not None:
            loud = np.flatnonzero(np.abs(wave) >= peak * 10 ** (-self.trim_db / 20))
            wave = wave[loud[0] : loud[-1] + 1]
        return wave / peak if peak > 0 and self.peak_normalise else wave


def tag(model: Model, path: Path) -> tuple[np.ndarray, float]:
    """Return probabilities (C,) and seconds of one recording; `ValueError` if it cannot be used."""
    rows, seconds = [], []
    with opened(path) as sound:
        if not RATES[0] <= sound.samplerate <= RATES[1]:
            raise ValueError(f"a sample rate of {sound.samplerate} Hz")
        if sound.channels > CHANNELS:
            raise ValueError(f"{sound.channels} channels (at most {CHANNELS})")
        length = WHOLE if sound.frames <= WHOLE * sound.samplerate else WINDOW
        for wave in mono(sound, max(1, round(length * sound.samplerate))):
            rows.append(model(wave, sound.samplerate))
            seconds.append(len(wave) / sound.samplerate)
    if not rows:
        raise ValueError("no samples")
    return np.average(rows, axis=0, weights=seconds), sum(seconds)


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a plain file for libsndfile, which gets no name of it: by a name it would look for files beside it."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a regular file")
        with soundfile.SoundFile(handle, closefd=False) as sound:
            yield sound
    finally:
        os.close(handle)


def mono(sound: soundfile.SoundFile, length: int) -> Iterator[np.ndarray]:
    """Yield the mono mix float32 (`length`,), the last one shorter; of channels that cancel out, the first channel."""
    held: list[np.ndarray] = []
    count, one, step = 0, False, max(1, STEP // sound.channels)
    while True:
        block = sound.read(min(step, length - count), dtype="float32", always_2d=True)  # (m, C)
        if not np.isfinite(block).all():
            raise ValueError("NaN or infinite samples")
        mixed = block.mean(axis=1, dtype=np.float32)
        if not held and count == 0 and len(block):
            one = one or bool(np.abs(mixed).max() < 1e-3 * np.abs(block).max())
        held.append(block[:, 0].copy() if one else mixed)
        count += len(block)
        if count and (count == length or len(block) == 0):
            yield np.concatenate(held)
            held, count = [], 0
        if len(block) == 0:
            return


def resample(wave: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """float32 (n,) to float32 (ceil(n * to_rate / from_rate),): a sinc under a Kaiser window, one filter per phase."""
    if from_rate == to_rate:
        return wave
    shared = math.gcd(from_rate, to_rate)
    up, down = to_rate // shared, from_rate // shared
    count, narrow = -(-len(wave) * up // down), min(1.0, up / down)
    half = math.ceil((ATTENUATION - 8) / (2.285 * math.pi * (1 - PASSED) * narrow) / 2)  # Kaiser's rule for the length
    padded = np.pad(wave, (half, half + 1 + down))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)  # window i is centred on sample i
    out = np.empty(count, np.float32)
    for first in range(min(up, count)):
        start, phase = divmod(first * down, up)
        taps = _taps(phase / up, half, narrow)
        picked = windows[start::down][: len(range(first, count, up))]
        for row in range(0, len(picked), ROWS):
            out[first + row * up :: up][: len(picked[row : row + ROWS])] = picked[row : row + ROWS] @ taps
    return out


def _taps(shift: float, half: int, narrow: float) -> np.ndarray:
    """The filter (2 half + 1,) that gives the sample `shift` behind the centre of its window."""
    x = np.arange(-half, half + 1) - shift
    cutoff = narrow * (1 + PASSED) / 2
    beta = 0.1102 * (ATTENUATION - 8.7)
    taper = np.i0(beta * np.sqrt(np.maximum(0, 1 - (x / (half + 1)) ** 2))) / np.i0(beta)
    taps = cutoff * np.sinc(cutoff * x) * taper
    return (taps / taps.sum()).astype(np.float32)


def find(paths: Sequence[str]) -> Iterator[Path]:
    """The files named, and the recordings in the folders named, without hidden ones; others are named on stderr."""
    suffixes = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".aif", ".oga", ".opus"}
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        inside: list[Path] = []
        for here, folders, names in os.walk(path, onerror=lambda error: say(f"{error.filename}: {error.strerror}")):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside += [Path(here, name) for name in names if not name.startswith(".")]
        others = sorted(file for file in inside if file.suffix.lower() not in suffixes)
        if others:
            say(f"{path}: {len(others)} files are left out for their suffix, first {others[0]}")
        yield from sorted(set(inside) - set(others))


def plain(text: str) -> str:
    """Spell out signs that a terminal would obey, or that turn a text around; é and the like stay."""
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return "".join(
        sign if unicodedata.category(sign) not in hidden or sign in JOINERS else json.dumps(sign)[1:-1] for sign in text
    )


def say(text: str) -> None:
    """Print a message on stderr."""
    print(plain(text), file=sys.stderr)


def read_words(arguments: Sequence[str]) -> tuple[list[str], Path, int, bool]:
    """Return the paths, the model's file, the number of tags and whether json is wanted; `ValueError` if wrong."""
    paths = [a for a in arguments if "=" not in a or "/" in a.partition("=")[0]]
    words = dict(a.split("=", 1) for a in arguments if a not in paths)
    unknown = sorted(set(words) - {"model", "top", "format"})
    if unknown:
        raise ValueError(f"'{unknown[0]}=' is none of the words: model=, top=, format=")
    if not paths:
        raise ValueError("name recordings or folders of them; --help says more")
    top, form = words.get("top", "3"), words.get("format", "table")
    if not (top.isascii() and top.isdigit() and int(top) > 0):
        raise ValueError(f"'top={top}': write a whole number of 1 or more")
    if form not in ("table", "json"):
        raise ValueError(f"'format={form}': write table or json")
    return paths, Path(words.get("model") or Path(__file__).parent / "model.onnx"), int(top), form == "json"


def main(arguments: list[str]) -> int:
    """Tag all recordings; return 0, or 1 if a recording could not be used, or 2 if the call is wrong."""
    if any(word in ("-h", "--help", "help") for word in arguments):
        print(__doc__)
        return 0
    try:
        paths, file, top, as_json = read_words(arguments)
        model, failed = loaded(file), 0
    except ValueError as error:
        say(f"predict_onnx: {error}")
        return 2
    for path in find(paths):
        try:
            row, seconds = tag(model, path)
        except (soundfile.SoundFileError, RuntimeError, OSError, ValueError) as error:
            why = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
            say(f"{path}: {' '.join(why.split())}")
            failed += 1
            continue
        best = np.argsort(-row, kind="stable")[:top]
        tags = {model.classes[c]: round(float(row[c]), 5) for c in best}
        record = {"file": str(path), "seconds": round(seconds, 3), "tags": tags}
        line = "  ".join([str(path), *(f"{name} {p:.3f}" for name, p in tags.items())])
        print(plain(json.dumps(record, ensure_ascii=False) if as_json else line))
    return 1 if failed else 0


def loaded(path: Path) -> Model:
    """Return the model of a file; `ValueError` if it is none that `export` wrote."""
    if not path.is_file():
        raise ValueError(f"{path}: no such model; give model=FILE")
    try:
        return Model(path)
    except Exception as error:  # onnxruntime has exceptions of its own for each kind of damage
        raise ValueError(f"{path}: not a model that export wrote ({' '.join(str(error).split())[:200]})") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
