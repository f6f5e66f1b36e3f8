"""Cost per hour of audio and its growth, in bounded memory; the same for folds and models.

`scale.py [HOURS ...]` (1 10): for every size, clips of ten seconds are synthesised (16 kHz, 16 bits), then the verbs
prepare and train (one fold, one epoch, a small network) run as a user would call them, in processes that may not
allocate more than LIMIT each: the store, which grows past that, is mapped. Then 1, 2 and 5 folds of one model and 5 of
two are trained at the smallest size. Costs are processor seconds of all processes, which other load does not change.
Leaves bench/results/scale.json and scale.png. Disk: 0.25 GB per hour below the temporary folder, for a while.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path
from typing import Any

from _measure import RESULTS, report

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RATE, SECONDS, CLASSES = 16_000, 10, 10
LIMIT = 3 << 30  # bytes that a process may allocate; files that it maps do not count
NEEDED = 0.25e9  # bytes of disk an hour: audio, parts and the store beside each other
SOURCE = Path(__file__).parents[1] / "src"
NETWORK = [
    *("network.channels=[8,16]", "network.convs=1", "network.stem_stride=2", "network.dense=16", "crop.seconds=2.56"),
    *("frontend.sample_rate=16000", "frontend.n_fft=1024", "frontend.hop_length=160", "frontend.n_mels=64"),
    *("frontend.fmax=8000", "training.epochs=1", "training.min_steps=0", "inference.crops=2", "blend.bootstrap=50"),
]


def write_audio(root: Path, hours: int) -> int:
    """Write clips cut from one synthesised minute at random places and gains, and their csv; return their bytes."""
    rng = np.random.default_rng(0)
    t = np.arange(60 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * f * t + 3 * np.sin(t * f / 900)) for f in (220, 640, 1800, 5200))
    minute = (tones + rng.standard_normal(len(t))) * 3000 * (1.2 + np.sin(2 * np.pi * t / 7))
    count, size = hours * 3600 // SECONDS, SECONDS * RATE
    (root / "audio_train").mkdir(parents=True)
    for i in range(count):
        start = rng.integers(len(minute) - size)
        samples = (minute[start : start + size] * rng.uniform(0.2, 1)).astype("<i2")
        with wave.open(str(root / f"audio_train/c{i:06d}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, size, "NONE", ""))
            file.writeframes(samples.tobytes())
    table = pd.DataFrame({"fname": [f"c{i:06d}.wav" for i in range(count)]})
    table.assign(label=[f"class {i % CLASSES}" for i in range(count)]).to_csv(root / "train.csv", index=False)
    return count * (size * 2 + 44)


class Memory:
    """Largest anonymous memory of all processes of a session together, and of one of them, looked at as they run."""

    def __init__(self, session: int) -> None:
        self.session, self.together, self.largest = session, 0, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.stop.wait(0.1):
            sizes = [_anonymous(folder) for folder in Path("/proc").glob("[0-9]*") if self._ours(folder)]
            self.together = max(self.together, sum(sizes))
            self.largest = max(self.largest, *sizes, 0)

    def _ours(self, folder: Path) -> bool:
        try:
            return int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == self.session
        except (OSError, IndexError, ValueError):
            return False


def _anonymous(folder: Path) -> int:
    """Bytes of a process that are its own: neither of a mapped file nor shared."""
    try:
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon")), 0)


def run_verb(verb: str, home: Path, words: list[str]) -> dict[str, float]:
    """Run one verb within LIMIT; seconds, processor seconds of all its processes, and their peak memory in GiB."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))

    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, str(SOURCE / f"{verb}.py"), "data=table", f"root={home}/input", "name=scale", *words]
    process = subprocess.Popen(
        [*command, "device=cpu"],
        env=os.environ | {"TONESTACK_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=limit,
    )
    with Memory(process.pid) as memory:
        output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{verb} ended with status {process.returncode}:\n{output[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall s": time.perf_counter() - started,
        "cpu s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "together GiB": memory.together / 2**30,
        "largest GiB": memory.largest / 2**30,
    }


def measure(home: Path, hours: int) -> dict[str, Any]:
    """One line of the table."""
    audio = write_audio(home / "input", hours)
    prepared = run_verb("prepare", home, ["model=vgg_small", *NETWORK])
    store = sum(path.stat().st_size for path in (home / "cache").rglob("features.npy"))
    trained = fold_jobs(home, ["model=vgg_small", "fold=0"], "first")
    return {
        "hours": hours,
        "audio GB": audio / 1e9,
        "store GB": store / 1e9,
        **{f"prepare {key}": value for key, value in prepared.items()},
        **{f"train {key}": value for key, value in trained.items()},
    }


def fold_jobs(home: Path, words: list[str], variant: str) -> dict[str, float]:
    """Train some folds that have not been trained yet, one after the other."""
    return run_verb("train", home, [*words, *NETWORK, f"variant={variant}", "jobs=1"])


def growth(home: Path) -> list[dict[str, Any]]:
    """Processor seconds of training 1, 2, 5 and 10 folds of one or two models."""
    both = "model=vgg_small,vgg_large"
    calls = {1: ["model=vgg_small", "fold=0"], 2: ["model=vgg_small", "fold=0,1"], 5: ["model=vgg_small"], 10: [both]}
    return [{"fold jobs": n, **fold_jobs(home, words, f"jobs{n}")} for n, words in calls.items()]


def slope(x: list[float], y: list[float]) -> tuple[float, float]:
    """Least-squares line through the points: (what one more costs, what none costs)."""
    each, fixed = np.polyfit(x, y, 1)
    return float(each), float(fixed)


def picture(rows: list[dict[str, Any]], jobs: list[dict[str, Any]], path: Path) -> None:
    """Costs over hours, memory over hours, costs over fold jobs."""
    figure, (cost, memory, many) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    hours = [row["hours"] for row in rows]
    for verb in ("prepare", "train"):
        cost.plot(hours, [row[f"{verb} cpu s"] for row in rows], "o-", label=verb)
        memory.plot(hours, [row[f"{verb} largest GiB"] for row in rows], "o-", label=f"{verb}, largest process")
    memory.plot(hours, [row["store GB"] * 1e9 / 2**30 for row in rows], "k:", label="the store")
    memory.axhline(LIMIT / 2**30, color="0.6", linestyle="--", label="limit of a process")
    cost.set(xscale="log", yscale="log", xlabel="hours of audio", ylabel="processor seconds", title="Cost")
    memory.set(xscale="log", xlabel="hours of audio", ylabel="GiB", title="Anonymous memory")
    many.plot([row["fold jobs"] for row in jobs], [row["cpu s"] for row in jobs], "o-")
    many.set(
        xlabel="folds x models", ylabel="processor seconds", title=f"Folds and models, {hours[0]} h", ylim=(0, None)
    )
    cost.legend()
    memory.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(sizes: list[int]) -> None:
    """Measure every size, then the folds; write, print, draw."""
    sizes = sorted(sizes or [1, 10])
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < NEEDED * sizes[-1]:
        raise SystemExit(f"{sizes[-1]} h need {NEEDED * sizes[-1] / 1e9:.0f} GB of disk; {free / 1e9:.0f} are free")
    rows, jobs = [], []
    for hours in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder), hours))
            print(f"{hours} h: prepare {rows[-1]['prepare cpu s']:.1f} s, train {rows[-1]['train cpu s']:.1f} s")
            jobs = jobs or growth(Path(folder))
    each, fixed = slope([row["fold jobs"] for row in jobs], [row["cpu s"] for row in jobs])
    result: dict[str, Any] = {
        "about": f"clips of {SECONDS} s, 64 bands at 100 frames/s; at most {LIMIT / 2**30:g} GiB a process",
        "fold jobs": jobs,
        "fold job s": each,
        "start s": fixed,
    }
    if len(rows) > 1:
        for verb in ("prepare", "train"):
            each, fixed = slope(sizes, [row[f"{verb} cpu s"] for row in rows])
            result |= {f"{verb} s/h": each, f"{verb} start s": fixed}
    report("scale", rows, result)
    picture(rows, jobs, RESULTS / "scale.png")
    print(pd.DataFrame(jobs).to_string(index=False, float_format="%.2f"))
    print(", ".join(f"{key} {value:.2f}" for key, value in result.items() if isinstance(value, float)))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
