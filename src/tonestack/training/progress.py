"""Show the progress of fold jobs: a bar over all epochs, and one line per finished fold."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tonestack import tasks
from tonestack.base.console import bar
from tonestack.tables import metrics
from tonestack.training.job import FoldJob

from tqdm import tqdm


@contextmanager
def progress_of(jobs: list[FoldJob]) -> Iterator[Any]:
    """A bar over all jobs' epochs, fed by their history files; yields the function that prints a finished fold."""
    for job in jobs:
        job.history_path.unlink(missing_ok=True)
    stop = threading.Event()
    with bar(sum(job.epochs for job in jobs), "train", "epoch") as progress:
        finished: set[str] = set()
        watcher = threading.Thread(target=_watch, args=(jobs, finished, progress, stop), daemon=True)
        watcher.start()

        def done(receipt: dict[str, Any]) -> None:
            name = f"{receipt['experiment']} fold {receipt['fold']}"
            finished.add(name)
            found = receipt["metrics"] | receipt.get("metrics_apart", {})
            scores = "  ".join(f"{key} {value:.4f}{at_half(key, jobs[0])}" for key, value in found.items())
            tqdm.write(f"  {name}: {scores}  {receipt['seconds']:.0f} s  ({len(finished)} of {len(jobs)})")

        try:
            yield done
        finally:
            stop.set()
            watcher.join()


def at_half(name: str, job: FoldJob) -> str:
    """What is said of a metric that decides from one half on: blend finds thresholds, on the rows of all folds."""
    one_label = tasks.find(job.task).one_label
    decides = metrics.resolve(name.rpartition(" ")[2]).decides(one_label)  # those of clips apart: `focal row_f1`
    return " (at 0.5)" if decides in ("classes", "rows") or (decides and len(job.classes) == 2) else ""


def _watch(jobs: list[FoldJob], finished: set[str], progress: Any, stop: threading.Event) -> None:
    shown = 0
    while True:
        last = stop.is_set()
        count = sum(job.epochs if job.name in finished else _lines(job.history_path) for job in jobs)
        progress.update(count - shown)
        shown = count
        if last:
            return
        stop.wait(0.5)


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
