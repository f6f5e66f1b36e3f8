"""Log-mel features of many clips: `prepare` on all cores against the usual loops over librosa, decoding included.

`features.py [clips] [rounds]`: that many clips of real recordings (Ogg Vorbis, 44.1 kHz) if there are any, else of
the synthesised demo; with the log-mel of the model configs, and with the smaller one of the fast preset. (a) reads by
soundfile, then resamples and transforms by librosa; (b) reads by `librosa.load`. All sides give the same numbers to
within the rounding to float16. Leaves bench/results/features.json.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from _measure import FSDMINI, in_turn, peak_memory, report
from tonestack.base import workers
from tonestack.config.call import Call
from tonestack.features import store
from tonestack.features.prepare import prepare
from tonestack.tables.competition import Competition

import librosa
import numpy as np
import soundfile

RATE = 32_000
SPECS = {
    "model configs": {"n_fft": 2048, "hop_length": 320, "n_mels": 128, "fmin": 40, "fmax": 15500},
    "fast preset": {"n_fft": 1024, "hop_length": 512, "n_mels": 64, "fmin": 40, "fmax": 15000},
}


def logmel(wave: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """The usual way: (T, n_mels) in dB."""
    power = librosa.feature.melspectrogram(y=wave, sr=RATE, pad_mode="constant", **spec)
    return librosa.power_to_db(power, amin=1e-10, top_db=None).T


def by_soundfile(path: Path, spec: dict[str, Any]) -> np.ndarray:
    """Decode by soundfile, resample and transform by librosa."""
    wave, rate = soundfile.read(path, dtype="float32")
    return logmel(librosa.resample(wave, orig_sr=rate, target_sr=RATE), spec)


def by_librosa(path: Path, spec: dict[str, Any]) -> np.ndarray:
    """Decode, resample and transform by librosa."""
    return logmel(librosa.load(path, sr=RATE)[0], spec)


def competition(clips: int) -> tuple[Competition, str]:
    """Some training clips of the real recordings, or of the demo where there are none."""
    if FSDMINI.is_dir():
        found, about = Call.from_arguments(["data=fsdkaggle2018", f"root={FSDMINI}"]).competition(), "real recordings"
    else:
        print(f"features: {FSDMINI} is not there; taking the synthesised demo")
        found, about = Call.from_arguments(["data=demo"]).competition(), "synthesised wav files"
    chosen = found.train.sample(min(clips, len(found.train)), random_state=0)
    return replace(found, train=chosen, test=found.test.iloc[:0]), about


def prepared(found: Competition, spec: dict[str, Any], cores: int) -> store.Store:
    """Ours, into a cache of its own."""
    audio = Call.from_arguments(["data=fsdkaggle2018"]).data.audio
    frontend = {"name": "logmel", "sample_rate": RATE, **spec}
    with tempfile.TemporaryDirectory() as folder:
        prepare(found, [frontend], audio, Path(folder), cores, progress=False)
        opened = store.Store.open(Path(folder), frontend, audio)
        return replace(opened, features=np.array(opened.features))


def check(ours: store.Store, found: Competition, spec: dict[str, Any]) -> float:
    """Largest difference in dB between ours and the loop on a few clips."""
    worst = 0.0
    for row in found.train.head(5).itertuples():
        offset, frames = (int(x[0]) for x in ours.rows([row.clip_id]))
        usual = by_soundfile(found.root / str(row.path), spec)
        worst = max(worst, float(np.abs(ours.features[offset : offset + frames] - usual).max()))
    if worst > 0.1:
        raise AssertionError(f"the two sides differ by {worst} dB")
    return worst


def measure(found: Competition, kind: str, rounds: int) -> dict[str, Any]:
    """One line of the table: seconds of every side and what ours gains."""
    spec, cores = SPECS[kind], workers.cores()
    paths = [found.root / path for path in found.train["path"]]
    by_soundfile(paths[0], spec), by_librosa(paths[0], spec)  # librosa compiles on its first call
    ours = prepared(found, spec, cores)  # and the worker processes start
    sides: dict[str, Any] = {
        "all cores": lambda: prepared(found, spec, cores),
        "one core": lambda: prepared(found, spec, 1),
        "soundfile + librosa": lambda: [by_soundfile(path, spec) for path in paths],
        "librosa.load": lambda: [by_librosa(path, spec) for path in paths],
    }
    seconds = in_turn(sides, rounds)
    first = seconds["all cores"]
    return {
        "log-mel of the": kind,
        **{f"{name} s": s for name, s in seconds.items()},
        "clips/s": len(paths) / first,
        "x real time": float(ours.clips.seconds.sum()) / first,
        "ratio": seconds["soundfile + librosa"] / first,
        "ratio to librosa.load": seconds["librosa.load"] / first,
        "ratio, one core": seconds["soundfile + librosa"] / seconds["one core"],
        "largest difference dB": check(ours, found, spec),
    }


def main(clips: int = 998, rounds: int = 2) -> None:
    """Measure in turn, check, write, print."""
    found, about = competition(clips)
    rows = [measure(found, kind, rounds) for kind in SPECS]
    result = {
        "about": f"{len(found.train)} clips ({about}), {workers.cores()} cores; the loops as they are written, on one",
        "ratio": rows[0]["ratio"],
        "ratio_fast_preset": rows[1]["ratio"],
        "peak_gib": peak_memory(),
    }
    report("features", rows, result)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
