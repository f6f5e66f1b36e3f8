"""Tag recordings with an exported model: `python predict_onnx.py FILE|DIR ... [model=FILE] [top=3] [format=json]`.

Needs onnxruntime, numpy and soundfile, nothing else. Recordings longer than a minute are cut every ten seconds, and
their tags are the mean over the pieces. Resampling is a windowed sinc: probabilities differ by about a thousandth from
those of a resampler of another make.
"""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

WHOLE, WINDOW = 60.0, 10.0  # seconds
PASSED, ATTENUATION = 0.913, 100.0  # share of the lower band that passes the resampler; dB of what is above that band
ROWS = 1 << 14  # samples made at once by the resampler


class Model:
    """An exported model with its metadata."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        facts = json.loads(self.session.get_modelmeta().custom_metadata_map["tonestack"])
        self.sample_rate: int = facts["sample_rate"]
        self.classes: list[str] = facts["classes"]
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
    """Return probabilities (C,) and seconds of one recording; `ValueError` if it has no samples."""
    rows, seconds = [], []
    with soundfile.SoundFile(path) as sound:
        length = WHOLE if sound.frames <= WHOLE * sound.samplerate else WINDOW
        for block in sound.blocks(max(1, round(length * sound.samplerate)), dtype="float32", always_2d=True):
            wave = block.mean(axis=1, dtype=np.float32)
            if not np.isfinite(wave).all():
                raise ValueError("NaN or infinite samples")
            rows.append(model(wave, sound.samplerate))
            seconds.append(len(wave) / sound.samplerate)
    if not rows:
        raise ValueError("no samples")
    return np.average(rows, axis=0, weights=seconds), sum(seconds)


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
    """The files named, and the recordings in the folders named."""
    suffixes = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".aif", ".oga", ".opus"}
    for path in map(Path, paths):
        inside = [Path(here, name) for here, _, names in os.walk(path) for name in names]
        yield from sorted(p for p in inside if p.suffix.lower() in suffixes) if path.is_dir() else [path]


def main(arguments: list[str]) -> int:
    """Tag all recordings; return 0, or 1 if a recording could not be used, or 2 if the call is wrong."""
    paths = [a for a in arguments if "=" not in a or "/" in a.partition("=")[0]]
    words = dict(a.split("=", 1) for a in arguments if a not in paths)
    if not paths or set(words) - {"model", "top", "format"}:
        print(__doc__, file=sys.stderr)
        return 2
    model, failed = Model(Path(words.get("model") or Path(__file__).parent / "model.onnx")), 0
    for path in find(paths):
        try:
            row, seconds = tag(model, path)
        except (soundfile.SoundFileError, OSError, ValueError) as error:
            print(f"{path}: {' '.join(str(error).split())}", file=sys.stderr)
            failed += 1
            continue
        best = np.argsort(-row, kind="stable")[: int(words.get("top", 3))]
        tags = {model.classes[c]: round(float(row[c]), 5) for c in best}
        record = {"file": str(path), "seconds": round(seconds, 3), "tags": tags}
        line = "  ".join([str(path), *(f"{name} {p:.3f}" for name, p in tags.items())])
        print(json.dumps(record, ensure_ascii=False) if words.get("format") == "json" else line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
