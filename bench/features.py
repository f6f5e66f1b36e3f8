"""Log-mel features of many clips: `prepare` on all cores against the usual loops over librosa, decoding included.

`features.py [clips] [rounds]`: that many clips of real recordings (Ogg Vorbis, 44.1 kHz) where they are there, else of
the synthesised demo. (a) reads by soundfile, then resamples and transforms by librosa; (b) reads by `librosa.load`.
All sides give the same numbers to within the rounding to float16. Leaves bench/results/features.json.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile

from _measure import FSDMINI, in_turn, peak_memory, report
from tonestack import jobs, store
from tonestack.competition import Competition
from tonestack.run import Run

SPEC = {
    "name": "logmel",
    "sample_rate": 32000,
    "n_fft": 1024,
    "hop_length": 512,
    "n_mels": 64,
    "fmin": 40,
    "fmax": 15000,
}


def logmel(wave: np.ndarray) -> np.ndarray:
    """The usual way: (T, n_mels) in dB."""
    power = librosa.feature.melspectrogram(
        y=wave,
        sr=SPEC["sample_rate"],
        n_fft=SPEC["n_fft"],
        hop_length=SPEC["hop_length"],
        n_mels=SPEC["n_mels"],
        fmin=SPEC["fmin"],
        fmax=SPEC["fmax"],
        pad_mode="constant",
    )
    return librosa.power_to_db(power, amin=1e-10, top_db=None).T


def by_soundfile(path: Path) -> np.ndarray:
    """Decode by soundfile, resample and transform by librosa."""
    wave, rate = soundfile.read(path, dtype="float32")
    return logmel(librosa.resample(wave, orig_sr=rate, target_sr=SPEC["sample_rate"]))


def by_librosa(path: Path) -> np.ndarray:
    """Decode, resample and transform by librosa."""
    return logmel(librosa.load(path, sr=SPEC["sample_rate"])[0])


def competition(clips: int) -> tuple[Competition, str]:
    """Some training clips of the real recordings, or of the demo where there are none."""
    if FSDMINI.is_dir():
        found, about = Run.from_arguments(["data=fsdkaggle2018", f"root={FSDMINI}"]).competition(), "real recordings"
    else:
        print(f"features: {FSDMINI} is not there; taking the synthesised demo")
        found, about = Run.from_arguments(["data=demo"]).competition(), "synthesised wav files"
    chosen = found.train.sample(min(clips, len(found.train)), random_state=0)
    return replace(found, train=chosen, test=found.test.iloc[:0]), about


def prepared(found: Competition, cores: int) -> store.Store:
    """Ours, into a cache of its own."""
    audio = Run.from_arguments(["data=fsdkaggle2018"]).data.audio
    with tempfile.TemporaryDirectory() as folder:
        store.prepare(found, [SPEC], audio, Path(folder), cores, progress=False)
        opened = store.Store.open(Path(folder), SPEC, audio)
        return replace(opened, features=np.array(opened.features))


def check(ours: store.Store, found: Competition) -> float:
    """Largest difference in dB between ours and the loop on a few clips."""
    worst = 0.0
    for row in found.train.head(5).itertuples():
        offset, frames = (int(x[0]) for x in ours.rows([row.clip_id]))
        usual = by_soundfile(found.root / str(row.path))
        worst = max(worst, float(np.abs(ours.features[offset : offset + frames] - usual).max()))
    if worst > 0.1:
        raise AssertionError(f"the two sides differ by {worst} dB")
    return worst


def main(clips: int = 300, rounds: int = 3) -> None:
    """Measure in turn, check, write, print."""
    found, about = competition(clips)
    cores = jobs.cores()
    paths = [found.root / path for path in found.train["path"]]
    by_soundfile(paths[0]), by_librosa(paths[0])  # librosa compiles on its first call
    ours = prepared(found, cores)  # and the worker processes start
    sides: dict[str, Any] = {
        "prepare, all cores": lambda: prepared(found, cores),
        "prepare, one core": lambda: prepared(found, 1),
        "loop: soundfile + librosa": lambda: [by_soundfile(path) for path in paths],
        "loop: librosa.load": lambda: [by_librosa(path) for path in paths],
    }
    seconds = in_turn(sides, rounds)
    hours = float(ours.clips.seconds.sum()) / 3600
    first = seconds["prepare, all cores"]
    rows = [
        {
            "side": n,
            "seconds": s,
            "clips/s": len(paths) / s,
            "x real time": hours * 3600 / s,
            "ours is faster by": s / first,
        }
        for n, s in seconds.items()
    ]
    result = {
        "about": f"{len(paths)} clips ({about}), {hours * 60:.1f} min of audio, {cores} cores, log-mel 64",
        "ratio": seconds["loop: soundfile + librosa"] / first,
        "ratio_librosa_load": seconds["loop: librosa.load"] / first,
        "ratio_one_core": seconds["loop: soundfile + librosa"] / seconds["prepare, one core"],
        "seconds": seconds,
        "largest_difference_db": check(ours, found),
        "peak_gib": peak_memory(),
    }
    report("features", rows, result)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
