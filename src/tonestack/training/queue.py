"""Experiments × folds as independent jobs: which are not up to date, and running them in parallel.

Nothing here imports torch, so that a call with nothing to do starts at once.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, read_json
from tonestack.config import rows
from tonestack.config.call import Experiment, Run
from tonestack.features.store import Store
from tonestack.labels import folds, revisions, training_labels
from tonestack.labels.training_labels import Labels
from tonestack.settings.data_config import AudioParams
from tonestack.settings.words import parse_folds
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm


@dataclass(frozen=True)
class FoldJob:
    """Everything one process needs to make one fold; plain data, so that it can travel.

    held_out, test: ids of the rows to predict: clips, or what the task's rows are. truth, scored: r0 targets (H, C) of
    the held-out rows and which of them count (the verified ones). outputs: columns of the table where they are not the
    classes that the network learns. options: the data config's section of the task's name;
    its `settings()` are what predictions depend on.
    groups: clip to group, for an inner split. columns: what the model reads of the clip table, each clip to value.
    inputs: fingerprints that make a finished fold stale.
    test: the test clips that it predicts; taught: how many others it has learnt a pseudo-label of, which it does not.
    initial: weights from which a network starts. train_score: also score the model on what it has trained on.
    """

    experiment: Experiment
    fold: int
    task: str
    metric: str
    classes: tuple[str, ...]
    cache: Path
    folder: Path
    audio: AudioParams
    labels: Labels
    held_out: list[str]
    truth: np.ndarray
    scored: np.ndarray
    test: list[str]
    taught: int = 0
    outputs: tuple[str, ...] = ()
    more_metrics: tuple[str, ...] = ()
    options: Any = None
    groups: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    threads: int = 1
    initial: Path | None = None
    train_score: bool = False

    @property
    def headings(self) -> tuple[str, ...]:
        """The columns of its table, which its json names."""
        return self.outputs or self.classes

    @property
    def name(self) -> str:
        """What a line of the terminal calls this job."""
        return f"{self.experiment.name} fold {self.fold}"

    @property
    def history_path(self) -> Path:
        """JSON lines, one an epoch; also what the progress bar reads."""
        return self.folder / f"fold{self.fold}.jsonl"

    @property
    def epochs(self) -> int:
        """Epochs of a full run."""
        return self.experiment.config.training.plan(len(self.labels.clip_ids))[0]

    def finished(self) -> dict[str, Any] | None:
        """The receipt, if the fold has been made from these very inputs; None if it has to be made."""
        receipt = read_receipt(self.folder, self.fold)
        return receipt if receipt and receipt.get("inputs") == self.inputs else None


def read_receipt(folder: Path, fold: int) -> dict[str, Any] | None:
    """The json of a finished fold whose three files are there."""
    path = folder / f"fold{fold}.json"
    whole = all(path.with_suffix(suffix).is_file() for suffix in (".json", ".parquet", ".safetensors"))
    return dict(read_json(path)) if whole else None


def config_fingerprint(experiment: Experiment) -> str:
    """What an experiment's name stands for."""
    return fingerprint([experiment.config.model_dump(mode="json"), experiment.seed])


def cores() -> int:
    """Cores this process may use (affinity and container limits counted)."""
    return int(joblib.cpu_count())


def decoders() -> int:
    """Processes that decode recordings: never the calling one, which a decoder's crash would end."""
    return max(2, cores())


def threads_and_jobs(run: Run) -> tuple[int, int]:
    """Threads a job and jobs at once: five folds side by side, the cores shared among them.

    The threads depend on the machine alone, never on how much is left to do, so that a rerun on it is bit-identical.
    """
    threads = max(1, cores() // 5)
    return threads, run.words.jobs or max(1, cores() // threads)


def build(run: Run, experiments: list[Experiment]) -> list[FoldJob]:
    """All jobs of this call, finished or not."""
    competition, table = run.competition(), folds.read(run.folds)
    chosen = parse_folds(run.words.fold, sorted(int(fold) for fold in table["fold"].unique() if fold >= 0))
    return [job for experiment in experiments for job in _jobs_of(run, experiment, table, chosen, competition)]


def _jobs_of(
    run: Run, experiment: Experiment, table: pd.DataFrame, chosen: list[int], competition: Competition
) -> list[FoldJob]:
    task, predicted = parts.find("tasks", run.data.task), rows.of(run)
    store = Store.open(run.cache, experiment.config.frontend, run.data.audio)
    revision = training_labels.read_revision(run.folds, experiment.revision)
    cross_fitted = revisions.cross_fitted(run.folds, experiment.revision)
    test, options = list(predicted.test_ids), getattr(run.data, run.data.task, None)
    columns = columns_of(competition, experiment)
    shared: dict[str, Any] = {
        "experiment": experiment,
        "task": run.data.task,
        "metric": run.data.metric,
        "outputs": predicted.columns,
        "more_metrics": run.data.more_metrics,
        "options": options,
        "cache": run.cache,
        "folder": run.oof / experiment.name,
        "audio": run.data.audio,
        "groups": dict(zip(table["clip_id"], table["group"], strict=True)),
        "columns": columns,
        "device": run.words.device,
        "threads": threads_and_jobs(run)[0],
    }
    jobs = []
    for fold in chosen:
        held_out = predicted.oof[predicted.oof["fold"] == fold]
        classes = learnt_classes(task, revision[revision["holdout"] == fold], competition.classes)
        learnt = training_labels.for_holdout(revision, fold, classes, task.targets, experiment.config.training)
        ids = held_out["clip_id"].tolist()
        refuse_leak(experiment.revision, fold, learnt.clip_ids, table.loc[table["fold"] == fold, "clip_id"].tolist())
        taught = set(learnt.clip_ids) if cross_fitted else set()
        asked = [name for name in test if name not in taught]  # a model repeats what it was taught
        inputs = {"features": store.fingerprint, "labels": learnt.fingerprint, "clips": fingerprint([ids, asked])}
        inputs |= {"columns": fingerprint(columns)} if columns else {}
        inputs |= {"options": fingerprint(options.settings())} if options else {}
        truth_of = getattr(task, "row_targets", task.targets)
        truth, scored = truth_of(held_out["label"], predicted.labels), held_out["verified"].to_numpy()
        own: dict[str, Any] = {"labels": learnt, "classes": classes, "held_out": ids, "inputs": inputs}
        own |= {"test": asked, "taught": len(test) - len(asked)}
        jobs.append(FoldJob(fold=fold, truth=truth, scored=scored, **own, **shared))
    return jobs


def learnt_classes(task: Any, learnt: pd.DataFrame, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that a holdout's network tells apart: all, or (task `OPEN_SET`) those of its training clips."""
    if not getattr(task, "OPEN_SET", False):
        return classes
    present = set(learnt["label"])
    return tuple(name for name in classes if name in present)


def columns_of(competition: Competition, experiment: Experiment) -> dict[str, dict[str, str]]:
    """The columns of the clip table that a model's `columns` names, each clip to value."""
    wanted = experiment.config.network.get("columns", ())
    known = competition.extras.get("clips", pd.DataFrame(columns=["clip_id"]))
    for name in wanted:
        if name not in known:
            there = ", ".join(known.columns.drop("clip_id")) or "none"
            raise UserError(f"{experiment.model}: network.columns: this reader knows no '{name}' of a clip ({there})")
    return {name: dict(zip(known["clip_id"], known[name], strict=True)) for name in wanted}


def refuse_leak(revision: str, fold: int, learnt: list[str], held_out: list[str]) -> None:
    """Refuse a revision that shows a holdout its own clips: it was made for other folds."""
    seen = sorted(set(learnt) & set(held_out))
    if seen:
        raise UserError(
            f"label revision '{revision}': holdout {fold} would train on clips that it is scored on ({seen[0]}; "
            f"{len(seen)} in all); it was made for other folds: make it anew"
        )


def pending(run: Run, experiments: list[Experiment]) -> list[FoldJob]:
    """The jobs that are not up to date; settings that would change what a name means are refused."""
    for experiment in experiments:
        refuse_changed_meaning(run.oof / experiment.name, experiment)
    jobs = build(run, experiments)
    todo = [job for job in jobs if job.finished() is None]
    print(f"train: {len(jobs) - len(todo)} of {len(jobs)} folds up to date, {len(todo)} to train")
    return todo


def refuse_changed_meaning(folder: Path, experiment: Experiment) -> None:
    """Refuse to train under a name whose finished folds were made with other settings."""
    now = experiment.config.model_dump(mode="json")
    for path in sorted(folder.glob("fold*.json")):
        receipt = read_json(path)
        if receipt.get("config_fingerprint") not in (None, config_fingerprint(experiment)):
            changed = differences(receipt.get("config", {}), now)
            raise UserError(
                f"{folder} was trained with other settings ({'; '.join(changed[:3])}); give variant=WORD "
                f"to keep both, or delete that folder"
            )


def differences(then: Any, now: Any, place: str = "") -> list[str]:
    """Name the keys in which two nested configs differ, with both values."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return [] if then == now else [f"{place}: {then} there, {now} now"]
    keys = [*then, *(key for key in now if key not in then)]
    return [d for key in keys for d in differences(then.get(key), now.get(key), f"{place}.{key}".lstrip("."))]


def run_all(run: Run, todo: list[FoldJob]) -> None:
    """Run jobs on the call's engine, longest first; a bar counts epochs, every finished fold is a line."""
    if not todo:
        return
    engine = parts.find("engines", run.words.engine)
    order = sorted(todo, key=lambda job: (-_cost(job), job.experiment.name, job.fold))
    with progress_of(order) as done:
        for receipt in engine.run(run, order):
            done(receipt)


def _cost(job: FoldJob) -> float:
    """Rough work of a job, for the order only: the longest of earlier folds of the experiment, else its epochs."""
    seconds = [float(read_json(path).get("seconds", 0)) for path in job.folder.glob("fold*.json")]
    return max(seconds, default=0.0) or 1e6 + job.epochs


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
            scores = "  ".join(f"{key} {value:.4f}" for key, value in receipt["metrics"].items())
            tqdm.write(f"  {name}: {scores}  {receipt['seconds']:.0f} s  ({len(finished)} of {len(jobs)})")

        try:
            yield done
        finally:
            stop.set()
            watcher.join()


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
