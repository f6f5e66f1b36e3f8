"""Seconds of blend, stack, submit and score, and the score of each, on synthetic competitions of two sizes.

Small: 7 models x 1,000 clips x 26 classes; large: 10 x 9,473 x 41 (both 5 folds, 39 % verified, a third of the other
labels wrong). Leaves bench/results/ensemble.json and prints a table. `ensemble.py small` runs the small one alone.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import blend
import score
import stack
import submit
from tonestack.base.files import read_json, write_json
from tonestack.config.call import Call
from tonestack.ensemble.blends import row_normal
from tonestack.tables.oof import write_fold

SIZES = {"small": (7, 1000, 300, 26), "large": (10, 9473, 1600, 41)}  # models, train clips, test clips, classes
RESULT = Path(__file__).parent / "results" / "ensemble.json"
FOLDS = 5


def competition(home: Path, models: int, clips: int, test: int, classes: int, seed: int = 0) -> None:
    """Write csv files, folds and models' tables below `home`.

    Classes come in groups of four that are confused with each other, clips differ in difficulty, models share half
    of their errors, and some models are blind to some classes: what real tables look like.
    """
    rng = np.random.default_rng(seed)
    names = np.array([f"class_{c:02d}" for c in range(classes)])
    y = rng.permutation(np.arange(clips + test) % classes)
    near = rng.normal(size=(classes, classes)) * 0.3 + 2.2 * (
        np.arange(classes)[:, None] // 4 == np.arange(classes) // 4
    )
    hard = rng.gamma(2.0, 0.6, size=(clips + test, 1))
    shared = near[y] + hard * rng.normal(size=(clips + test, classes))
    verified = rng.random(clips) < 0.39
    given = np.where(verified | (rng.random(clips) > 1 / 3), y[:clips], rng.integers(classes, size=clips))
    fold = np.arange(clips) % FOLDS
    train, tests = [f"a{i:05d}.wav" for i in range(clips)], [f"t{i:05d}.wav" for i in range(test)]
    root = home / "input"
    root.mkdir(parents=True)
    table = pd.DataFrame({"fname": train, "label": names[given], "manually_verified": verified.astype(int)})
    table.to_csv(root / "train.csv", index=False)
    pd.DataFrame({"fname": tests, "label": " ".join(names[:3])}).to_csv(root / "sample_submission.csv", index=False)
    usage = np.where(np.arange(test) % 5 == 0, "Public", "Private")
    truth = pd.DataFrame({"fname": tests, "label": names[y[clips:]], "usage": usage})
    truth.to_csv(root / "test_post_competition.csv", index=False)
    folder = home / "folds" / "toy"
    folder.mkdir(parents=True)
    kept = table.rename(columns={"fname": "clip_id"}).assign(verified=verified, group="", fold=fold)
    kept[["clip_id", "label", "verified", "group", "fold"]].to_csv(folder / "r0.csv", index=False)
    for m in range(models):
        strength = 3.2 + 0.25 * m + rng.normal(size=classes) * 0.8  # of each class
        own = hard * rng.normal(size=(clips + test, classes))
        for k in range(FOLDS):
            rows = np.r_[np.flatnonzero(fold == k), np.arange(clips, clips + test)]
            noise = 0.4 * rng.normal(size=(len(rows), classes))
            logits = (
                shared[rows] + own[rows] + noise + strength[y[rows]][:, None] * (np.arange(classes) == y[rows][:, None])
            )
            ids, part = (
                [train[i] for i in rows if i < clips] + tests,
                ["oof"] * int((fold == k).sum()) + ["test"] * test,
            )
            values = row_normal(np.exp(0.9 * logits)).astype(np.float32)
            write_fold(home / "oof" / "toy" / f"net{m}@r0", k, ids, part, values, names.tolist(), {"seconds": 1.0})


def measure(size: str) -> dict[str, float]:
    """Seconds of every stage, and nested CV and private score of all it made."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["TONESTACK_HOME"] = folder
        competition(home, *SIZES[size])
        found: dict[str, float] = {}
        for name, verb in (("blend", blend.run), ("stack", stack.run), ("submit", submit.run), ("score", score.run)):
            found[f"{name} seconds"] = timed(verb)
            if name != "score":
                found[f"{name} again seconds"] = timed(verb)
        board = pd.read_csv(home / "oof" / "toy" / "leaderboard.csv").set_index("experiment")
        for name in board.index:
            found |= {f"{name} cv": board.loc[name, "cv"], f"{name} private": board.loc[name, "private"]}
        for name in ("blend", "stack", "submission"):
            found[f"{name}.csv private"] = read_json(home / "oof" / "toy" / "scores.json")[f"{name}.csv"]["private"]
        return found


def timed(verb: Callable[[Call], object]) -> float:
    """Seconds of one stage, its words swallowed."""
    call = Call.from_arguments(["data=fsdkaggle2018", "name=toy", f"root={os.environ['TONESTACK_HOME']}/input"])
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        verb(call)
    return time.perf_counter() - started


def main(sizes: list[str]) -> None:
    """Measure, write, print."""
    result = {size: measure(size) for size in sizes}
    write_json(RESULT, result)
    for size, found in result.items():
        for key, value in found.items():
            print(f"{size:6} {key:36} {value:10.4f}")


if __name__ == "__main__":
    main([word for word in sys.argv[1:] if word in SIZES] or list(SIZES))
