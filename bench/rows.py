"""Seconds and peak memory of every stage without networks on BirdCLEF 2026's numbers: 127,104 windows x 234 classes.

`rows.py [RECORDINGS MODELS] [stages=a,b] [home=DIR]` (10592 3): recordings of one minute, in windows of 5 s, in the
layout of `reader: birdclef`. As many are labelled (every window is a row that tables are scored on), in the test set
and in the pool. Their audio is one silent file with many names, since only lengths are read. The models' tables are
made up, and the stages' own code runs on them, each in a process of its own. No competition has labelled more than some
thousand windows: what blend takes here is the worst case. home: a folder that is kept. Leaves bench/results/rows.json.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any
from unittest import mock

import blend
import make_folds
import stack
import submit
from _measure import report

import numpy as np
import pandas as pd

SOURCE = Path(__file__).parents[1] / "src"
DEFAULT = (10_592, 3)  # recordings of the pool of 2026, models
CLASSES, WINDOWS, SECONDS = 234, 12, 5
FOLDERS = {"train_soundscapes": "Train", "test_soundscapes": "Test", "unlabeled_soundscapes": "Pool"}
TEACHERS = ["soundscape_sed", "soundscape_cqt", "clip_forest", "resnet", "vgg_small"]
POWER = 1.54  # of the pool's labels, of the second round
STAGES = ("tables", "folds", "blend", "stack", "submit", "pseudo", "pool", "student")


def write_competition(root: Path, recordings: int) -> None:
    """Write recordings of one minute, most of them names of one file, and the labels of every window."""
    rng = np.random.default_rng(0)
    names = [f"sp{c:03d}" for c in range(CLASSES)]
    one = root / "silence.wav"
    root.mkdir(parents=True)
    with wave.open(str(one), "wb") as file:
        file.setparams((1, 1, 1000, 0, "NONE", ""))
        file.writeframes(bytes([128]) * 1000 * SECONDS * WINDOWS)
    for folder, stem in FOLDERS.items():
        (root / folder).mkdir()
        for number in range(recordings):
            os.link(one, root / folder / f"BC_{stem}_{number:06d}.wav")
    focal = pd.DataFrame({"primary_label": names, "filename": [f"{name}/XC1.ogg" for name in names]})
    focal.assign(secondary_labels="[]", author="a").to_csv(root / "train.csv", index=False)
    header = pd.DataFrame(columns=["row_id", *names])
    header.to_csv(root / "sample_submission.csv", index=False)
    common = rng.zipf(1.3, size=4 * recordings * WINDOWS) - 1  # few classes are heard often
    labels = common[common < CLASSES][: 2 * recordings * WINDOWS].reshape(-1, 2)
    number, start = np.divmod(np.arange(len(labels)), WINDOWS)
    table = pd.DataFrame({"filename": [f"BC_Train_{n:06d}.wav" for n in number], "start": start * SECONDS})
    table = table.assign(end=table["start"] + SECONDS, primary_label=[f"{names[a]};{names[b]}" for a, b in labels])
    table.to_csv(root / "train_soundscapes_labels.csv", index=False)


def call_of(home: Path) -> Any:
    """The call that every stage gets."""
    from tonestack.config.call import Call

    words = ["data=birdclef", "name=rows", f"root={home}/input", "device=cpu", "pseudo.soft=true", "pseudo.rounds=1"]
    return Call.from_arguments([*words, "pseudo.models=[soundscape_sed,soundscape_cqt]"])


def guesses(truth: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Probabilities (n, C) of a model that knows the true cells by so many standard deviations."""
    logits = rng.standard_normal(truth.shape, dtype=np.float32)
    logits += np.where(truth > 0, np.float32(strength), np.float32(0))
    return np.asarray(1 / (1 + np.exp(np.float32(4) - np.float32(1.7) * logits)), dtype=np.float32)


def make_tables(call: Any, models: int) -> None:
    """Write the folds and every model's tables: as many OOF rows as test rows, five folds."""
    from tonestack.tables.oof import write_fold

    make_folds.run(call, quiet=True)
    rows, rng = call.rows, np.random.default_rng(1)
    truth = call.task.row_truth(rows.oof["label"].tolist(), rows.columns)
    fold, ids = rows.oof["fold"].to_numpy(), rows.oof["clip_id"].to_numpy(dtype=str)
    hidden = np.roll(truth[: len(rows.test_ids)], 1, axis=0)
    if len(hidden) < len(rows.test_ids):
        hidden = np.resize(hidden, (len(rows.test_ids), hidden.shape[1]))
    for number, name in enumerate(TEACHERS[:models]):
        for k in np.unique(fold[fold >= 0]):
            here = fold == k
            values = [guesses(part, 3.0 + 0.2 * number, rng) for part in (truth[here], hidden)]
            part = ["oof"] * int(here.sum()) + ["test"] * len(hidden)
            names = [*ids[here], *rows.test_ids]
            write_fold(call.oof / f"{name}@r0", int(k), names, part, np.concatenate(values), rows.columns, {})


def make_pool(call: Any, models: int) -> None:
    """Write what the teachers say of every piece of the pool, by the code that `student` writes it with."""
    from tonestack.cleaning import student_rounds

    clips = call.competition().pool["clip_id"].tolist()
    start = np.tile(np.arange(WINDOWS) * float(SECONDS), len(clips))
    places = pd.DataFrame({"recording": np.repeat(clips, WINDOWS), "start": start, "end": start + SECONDS})
    rng, classes = np.random.default_rng(2), call.competition().classes
    truth = np.zeros((len(places), len(classes)), dtype=np.float32)
    truth[np.arange(len(truth)), rng.integers(len(classes), size=len(truth))] = 1
    for name in TEACHERS[:models]:
        for k in range(call.data.folds.n):
            logs = np.log(guesses(truth, 3.0, rng))
            student_rounds.write_labels(call.oof / f"{name}@r0" / f"pool{k}.parquet", places, logs, classes)


def student(call: Any, models: int) -> None:
    """Write the revision of a student round and read what each holdout's networks would learn from."""
    from tonestack.cleaning import student_rounds

    params = call.data.student
    teachers = [call.experiment(name) for name in TEACHERS[:models]]
    with mock.patch.object(student_rounds, "label_pool"):  # the pool is labelled: no network is here to do it
        student_rounds.write_revision(call, params, "r0", teachers, f"{params.name}1", POWER)
    print(student_rounds.measured(call, f"{params.name}1", teachers))


def pseudo(call: Any, models: int) -> None:
    """Write a soft revision from the test windows' predictions, read it back, and make a holdout's targets of it."""
    from tonestack.cleaning import pseudo_rounds
    from tonestack.labels import training_labels
    from tonestack.settings.model_config import TrainingParams

    before = pseudo_rounds.Round("r0", [call.experiment(name) for name in TEACHERS[:models]], {})
    pseudo_rounds._write_revision(call, pseudo_rounds.settings(call), "r0", before, "pseudo1", 1)
    rows = call.labels.revision("pseudo1")
    classes = call.competition().classes
    for k in range(call.data.folds.n):
        labels = training_labels.for_holdout(rows, k, classes, call.task.targets, TrainingParams())
    print(len(rows), "rows of all holdouts;", labels.targets.shape, "of the last;", labels.fingerprint)


def run(stage: str, home: Path, models: int) -> None:
    """Run one stage in this process; the last line printed is json: its seconds and its largest resident size."""
    started = time.perf_counter()
    call = call_of(home)
    own = {"tables": make_tables, "pool": make_pool, "student": student, "pseudo": pseudo}
    verbs = {"folds": make_folds.run, "blend": blend.run, "stack": stack.run, "submit": submit.run}
    if stage in own:
        own[stage](call, models)
    else:
        verbs[stage](call)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"wall s": seconds, "cpu s": used.ru_utime + used.ru_stime, "peak GiB": peak}))


def measure(stage: str, home: Path, models: int) -> dict[str, Any]:
    """One stage in a process of its own."""
    environment = os.environ | {
        "TONESTACK_HOME": str(home),
        "PYTHONPATH": f"{SOURCE}{os.pathsep}{Path(__file__).parent}",
    }
    command = f"import rows, pathlib; rows.run({stage!r}, pathlib.Path({str(home)!r}), {models})"
    with (home / f"{stage}.log").open("w") as log:
        done = subprocess.run([sys.executable, "-c", command], env=environment, stdout=log, stderr=subprocess.STDOUT)
    lines = (home / f"{stage}.log").read_text().strip().splitlines()
    if done.returncode:
        return {"stage": stage, "failed": lines[-1] if lines else f"status {done.returncode}"}
    return {"stage": stage, **json.loads(lines[-1])}


def main(arguments: list[str]) -> None:
    """Measure every stage; write, print."""
    words = dict(word.split("=", 1) for word in arguments if "=" in word)
    sizes = [int(word) for word in arguments if "=" not in word]
    recordings, models = (*sizes, *DEFAULT[len(sizes) :])
    with tempfile.TemporaryDirectory() as folder:
        home, found = Path(words.get("home", folder)), []
        if not (home / "input").exists():
            write_competition(home / "input", recordings)
        for stage in words.get("stages", ",".join(STAGES)).split(","):
            found.append(measure(stage, home, models))
            print(found[-1], flush=True)
    about = f"{models} models, {recordings * WINDOWS:,} labelled, test and pool windows each, {CLASSES} classes"
    report("rows", found, {"about": about})


if __name__ == "__main__":
    main(sys.argv[1:])
