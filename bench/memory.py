"""Peak memory of `blend` (single, geometric, log_loss, greedy) on tables larger than memory.

`memory.py [MODELS CLIPS CLASSES TEST FOLDS]`; writes the tables below a temporary folder, blends them in a process of
its own, and prints seconds and that process's peak memory. Default: 12 x 20,000 x 41 with five test folds of 5,000.
Leaves bench/results/memory.json.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tonestack.base.files import write_json
from tonestack.ensemble.blends import row_normal
from tonestack.tables.oof import write_fold

DEFAULT = (12, 20_000, 41, 5_000, 5)
RESULT = Path(__file__).parent / "results" / "memory.json"
BLEND = """
import json, resource, sys, time
sys.path.insert(0, {source!r})
import blend
from tonestack.config.call import Call
started = time.monotonic()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
words = ["data=fsdkaggle2018", "name=big", "root={home}/input", "blend.searches={searches}", *{words}]
blend.run(Call.from_arguments(words))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({{"seconds": time.monotonic() - started, "peak_gib": peak, "imports_gib": before}}))
"""


def write_tables(home: Path, models: int, clips: int, classes: int, test: int, folds: int) -> int:
    """Write a competition of verified clips and its tables; return the bytes of the tables as float32."""
    rng = np.random.default_rng(0)
    names = [f"c{c:02d}" for c in range(classes)]
    y, yt = rng.integers(classes, size=clips), rng.integers(classes, size=test)
    train, tests = [f"a{i:07d}.wav" for i in range(clips)], [f"t{i:07d}.wav" for i in range(test)]
    fold = np.arange(clips) % folds
    for folder in ("input", "folds/big"):
        (home / folder).mkdir(parents=True)
    labels = np.array(names)[y]
    pd.DataFrame({"fname": train, "label": labels, "manually_verified": 1}).to_csv(
        home / "input/train.csv", index=False
    )
    sample = pd.DataFrame({"fname": tests, "label": " ".join(names[:3])})
    sample.to_csv(home / "input/sample_submission.csv", index=False)
    table = pd.DataFrame({"clip_id": train, "label": labels, "verified": True, "group": "", "fold": fold})
    table.to_csv(home / "folds/big/r0.csv", index=False)
    shared = 1.5 * rng.standard_normal((clips + test, classes), dtype=np.float32)  # errors that all models make
    for m in range(models):
        strength = 3.0 + 1.0 * m / models
        for k in range(folds):
            truth = np.r_[y[fold == k], yt]
            rows = np.r_[np.flatnonzero(fold == k), np.arange(clips, clips + test)]
            logits = shared[rows] + rng.standard_normal((len(truth), classes), dtype=np.float32)
            logits[np.arange(len(truth)), truth] += np.float32(strength)
            ids = [train[i] for i in np.flatnonzero(fold == k)] + tests
            part = ["oof"] * int((fold == k).sum()) + ["test"] * test
            write_fold(home / "oof/big" / f"net{m:03d}@r0", k, ids, part, row_normal(np.exp(logits)), names, {})
    return models * classes * 4 * (clips + test * folds)


def measure(
    models: int,
    clips: int,
    classes: int,
    test: int,
    folds: int,
    searches: str = "single,geometric,log_loss,greedy",
    words: tuple[str, ...] = (),
) -> dict[str, float]:
    """Seconds and peak memory of one blend of tables of this size."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        size = write_tables(home, models, clips, classes, test, folds)
        source = str(Path(__file__).parents[1] / "src")
        code = BLEND.format(source=source, home=folder, searches=f"[{searches}]", words=list(words))
        environment = {**os.environ, "TONESTACK_HOME": folder}
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    print(done.stdout)
    return {"tables_gib": size / 2**30, **json.loads(done.stdout.splitlines()[-1])}


def main(words: list[str]) -> None:
    """Measure, write, print."""
    started = time.monotonic()
    size = tuple(int(word) for word in words) or DEFAULT
    found = measure(*size)  # type: ignore[arg-type]
    write_json(RESULT, {"size": list(size), **found})
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{size}: {found}; {time.monotonic() - started:.0f} s with making the tables (peak {own:.2f} GiB)")


if __name__ == "__main__":
    main(sys.argv[1:])
