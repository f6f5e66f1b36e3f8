"""Long runs: two hundred folds in one process leave memory, file handles and folders as they were. Marked long."""

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tonestack.config.call import Call
from tonestack.tables.oof import OWN
from tonestack.training import fold_job, queue

import pytest

FOLDS = 200
TinyRun = Callable[..., Call]


def memory() -> float:
    """Memory of this process's own, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")
def test_two_hundred_folds_in_one_process_leave_nothing(tiny_run: TinyRun, tiny_home: Path) -> None:
    run = tiny_run("training.epochs=1")
    pair = queue.build(run, run.experiments())
    used, handles = [], []
    for number in range(FOLDS):
        experiment = replace(pair[number % 2].experiment, seed=number)
        fold_job.run(replace(pair[number % 2], experiment=experiment, folder=run.oof / experiment.name))
        if number % 20 == 19:
            gc.collect()
            used.append(memory())
            handles.append(len(os.listdir("/proc/self/fd")))
    print(f"{FOLDS} folds: {used[0]:.0f} MB after 20, {used[-1]:.0f} MB after all; {handles[-1]} file handles")
    assert used[-1] - used[1] < 20, used
    assert handles[-1] <= handles[0]
    names = {path.name for path in run.oof.rglob("*") if path.is_file()}
    assert names - {OWN} == {
        f"fold{k}.{suffix}" for k in (0, 1) for suffix in ("json", "jsonl", "parquet", "safetensors")
    }
