"""Time estimates from a few seconds of real work, for `planning`: features of a few clips, a few steps of every model
at its real shapes, a few trials of a blend on made tables of the real size.

Fold jobs are timed side by side, as many at once and on as many threads as in a real run. So the estimate includes
their competition for memory, caches and clock rate.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tonestack.base import workers
from tonestack.base.errors import UserError
from tonestack.base.parts import part_params
from tonestack.config.call import Call, Experiment
from tonestack.ensemble import nested_cv, searches, stacking
from tonestack.ensemble.blends import row_normal
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.stack_inputs import StackInputs, StackRows
from tonestack.features import missing
from tonestack.features.prepare import prepare
from tonestack.features.store import Store
from tonestack.labels.training_labels import Labels
from tonestack.settings.model_config import DistilParams, ModelConfig
from tonestack.tables.competition import Competition
from tonestack.tables.metrics import resolve
from tonestack.training import learners, queue
from tonestack.training.job import FoldJob, threads_and_jobs

import joblib
import numpy as np

SAMPLE = 12  # clips whose features are made
FEW, MORE = 2, 8  # batches of a short and of a longer epoch
START = 3.0  # seconds in which a worker process starts and imports


@dataclass(frozen=True)
class Counts:
    """Clips of one fold job: those it trains on (none: a finished network predicts) and those it predicts."""

    train: int
    predicted: int


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# -------------------------------------------------------------------------------------------------------- features


def sample(competition: Competition) -> tuple[Competition, float]:
    """Return clips of evenly spread file sizes as a small competition, and all files' bytes over the sample's."""
    clips = competition.clips.drop_duplicates("path")[["clip_id", "path"]]
    sizes = np.array([_size(competition.root / path) for path in clips["path"]])
    usable = np.argsort(sizes, kind="stable")[np.count_nonzero(sizes == 0) :]
    if len(usable) == 0:
        where = missing.why(competition.root, clips["path"].iloc[0])
        raise UserError(f"plan: none of {len(clips)} recordings can be opened: {where}")
    chosen = usable[np.linspace(0, len(usable) - 1, min(SAMPLE, len(usable))).round().astype(int)]
    few = clips.iloc[np.unique(chosen)].assign(label=competition.classes[0], verified=True, group="", fold=-1)
    return replace(competition, train=few, test=few.iloc[:0]), float(
        sizes.sum() / max(sizes[np.unique(chosen)].sum(), 1)
    )


def _size(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def features(call: Call, few: Competition, times: float, specs: Sequence[dict[str, Any]], folder: Path) -> float:
    """Estimate the seconds of all clips' features on all cores; the sample's features stay in `folder`.

    few: a sample of the clips; times: bytes of all clips over bytes of the sample.
    """
    audio = call.data.audio.model_copy(update={"bad_files": "skip"})
    with tempfile.TemporaryDirectory() as warm:
        prepare(few, specs, audio, Path(warm), progress=False)
    seconds = timed(lambda: prepare(few, specs, audio, folder, progress=False))
    return START + seconds * times / workers.cores()


# -------------------------------------------------------------------------------------------------------- fold jobs


def fold_jobs(call: Call, wanted: dict[str, tuple[Experiment, Counts]], cache: Path) -> dict[str, float]:
    """Estimate the seconds of one fold job per experiment, by name; `cache` has features of at least some clips."""
    if not wanted:
        return {}
    threads, at_once = threads_and_jobs(call)
    audio = call.data.audio
    if cache != call.cache:
        audio = audio.model_copy(update={"bad_files": "skip"})
    calls = [joblib.delayed(_seconds)(_stand_in(call, e, audio, cache), counts) for e, counts in wanted.values()]
    with joblib.parallel_config("loky", inner_max_num_threads=threads):
        found = joblib.Parallel(min(at_once, len(calls)), batch_size=1)(calls)
    return dict(zip(wanted, found, strict=True))


def _stand_in(call: Call, experiment: Experiment, audio: Any, cache: Path) -> FoldJob:
    """Return a job of the right shapes on a few clips of the store, of any fold."""
    competition, task = call.competition(), call.task
    clips = Store.open(cache, experiment.config.frontend, audio).clips
    known = competition.train[competition.train["clip_id"].isin(clips.index[clips["frames"] > 0])]
    few = known.iloc[np.unique(np.linspace(0, len(known) - 1, SAMPLE).round().astype(int))]
    targets = task.targets(few["label"], competition.classes)
    return FoldJob(
        experiment=experiment,
        fold=0,
        task=call.data.task,
        metric=call.data.metric,
        classes=competition.classes,
        cache=cache,
        folder=Path(),
        audio=audio,
        labels=Labels(few["clip_id"].tolist(), targets, np.ones(len(few), np.float32)),
        held_out=[],
        truth=targets[:0],
        scored=np.zeros(0, bool),
        test=[],
        backgrounds=tuple(few["clip_id"][:1]),  # mixing one under crops takes time; a job that has none says so
        options=call.options,
        columns=queue.columns_of(competition, competition.train, experiment),
        device=call.words.device,
        threads=threads_and_jobs(call)[0],
    )


def _seconds(job: FoldJob, counts: Counts) -> float:
    """Estimate the seconds of a job from one epoch of few clips, one of more, and three of few."""
    from tonestack.training.device import set_up_process  # torch: in a worker

    set_up_process(job.threads)
    settings = job.experiment.config
    opened = Store.open(job.cache, settings.frontend, job.audio)
    learner = learners.find(settings.network)
    batch, (epochs, steps) = settings.training.batch_size, settings.training.plan(counts.train)
    steps = getattr(_episodes(settings), "steps", steps)
    epochs = (epochs + settings.training.distil.epochs) * bool(counts.train)  # all take equally long
    with tempfile.TemporaryDirectory() as folder:

        def fit(batches: int, epochs: int) -> Any:
            return learner.fit(_shrunk(replace(job, folder=Path(folder)), batches * batch, epochs), opened)

        fitted = fit(FEW, 1)  # work done once per process is not counted
        short, long = timed(lambda: fit(FEW, 1)), timed(lambda: fit(MORE, 1))
        step = max(0.0, long - short) / (MORE - FEW)
        epoch = max(0.0, (timed(lambda: fit(FEW, 3)) - short) / 2 - FEW * step) if epochs > 1 else 0.0
    ids = _repeated(job.labels.clip_ids, 4 * len(job.labels.clip_ids))
    predicting = timed(lambda: fitted.log_probabilities(ids)) / len(ids) * counts.predicted
    return max(0.0, short - FEW * step - epoch) + epochs * (steps * step + epoch) + predicting


def _shrunk(job: FoldJob, clips: int, epochs: int) -> FoldJob:
    """Return the job on `clips` clips (the sample, repeated) for `epochs` epochs."""
    changed = {"epochs": epochs, "min_steps": 0, "stop": "fixed", "distil": DistilParams()}
    training = job.experiment.config.training.model_copy(update=changed)
    network, episodes = job.experiment.config.network, _episodes(job.experiment.config)
    if episodes:
        steps = max(1, clips // training.batch_size)
        network = network | {"episodes": episodes.model_copy(update={"steps": steps}).model_dump()}
    config = job.experiment.config.model_copy(update={"training": training, "network": network})
    position = np.arange(clips) % len(job.labels.clip_ids)
    return replace(job, experiment=replace(job.experiment, config=config), labels=job.labels.take(position))


def _episodes(settings: ModelConfig) -> Any:
    """Return the episodes of a network that sets its own number of batches per epoch; None for all others."""
    return getattr(part_params("models", settings.network, "network"), "episodes", None)


def _repeated(ids: list[str], count: int) -> list[str]:
    return [ids[i % len(ids)] for i in range(count)]


# ---------------------------------------------------------------------------------------------------------- ensemble


def made_tables(models: int, clips: int, classes: int, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return tables (M, N, C) of models that are right about two times in three, and their targets."""
    rng = np.random.default_rng(0)
    truth = rng.integers(classes, size=clips)
    right = np.arange(classes) == truth[:, None]
    odds = (rng.normal(size=(clips, classes)) + rng.normal(size=(clips, classes)) + 3 * right for _ in range(models))
    if several:
        return np.stack([1 / (1 + np.exp(2 - z)) for z in odds]).astype(np.float32), right.astype(np.int8)
    return np.stack([row_normal(np.exp(z)) for z in odds]).astype(np.float32), truth


def blend(call: Call, models: int, clips: int, folds: int) -> float:
    """Estimate the seconds of the blend stage for so many tables and verified clips."""
    several = not call.task.one_label
    tables, targets = made_tables(models, clips, len(call.competition().classes), several)
    names = tuple(f"m{m}" for m in range(models))
    problem = Problem(tables, targets, resolve(call.data.metric), names, not several)
    params, total = call.data.blend, 0.0
    few = params.model_copy(update={"trials": min(params.trials, params.batch)})
    for name in params.searches:
        search = searches.find(name)
        fit = timed(lambda s=search: s.fit(problem, few, call.seed, None))  # type: ignore[misc]
        total += fit * (params.trials / few.trials if hasattr(search, "sampler") else 1) * (folds + 1)
    scoring = timed(lambda: nested_cv.score(problem.metric, tables[0], targets, params.bootstrap))
    return total + 4 * scoring * (len(params.searches) + models)


def stack(call: Call, models: int, clips: int, folds: int) -> float:
    """Estimate the seconds of the stack stage for so many tables and training clips."""
    several = not call.task.one_label
    classes = len(call.competition().classes)
    tables, targets = made_tables(models, clips, classes, several)
    fold = np.arange(clips) % folds
    rows = StackRows(StackInputs.of(tables, independent=several), targets, np.ones(clips), fold, classes)
    params = call.data.stack
    few = params.model_copy(update={"rounds": min(params.rounds, 10)})
    total = 0.0
    for name in params.stackers:
        one = timed(lambda n=name: stacking.fit(n, rows, few, call.seed))  # type: ignore[misc]
        one *= params.rounds / few.rounds if name == "lightgbm" else 1
        total += one * (1 + -(-folds // min(params.jobs, workers.cores())))
    return total
