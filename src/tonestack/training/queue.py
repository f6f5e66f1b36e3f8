"""The queue: build the fold jobs of a call, find those that are not up to date, and run them in parallel.

Nothing here imports torch, so that a call with nothing to do starts at once. A `FoldJob` (job.py) is the data of one
fold; fold_job.py makes it in a process that an engine starts.
"""

from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, kept_hash, read_json
from tonestack.base.model_files import located
from tonestack.config import pretrained
from tonestack.config.call import Call, Experiment
from tonestack.features.store import Store
from tonestack.labels import revisions, training_labels
from tonestack.settings.words import parse_folds
from tonestack.tables import oof
from tonestack.tables.competition import Competition
from tonestack.tables.rows import Rows
from tonestack.tasks import Task
from tonestack.training.finished_networks import made_network
from tonestack.training.job import FoldJob, refuse_changed_meaning, threads_and_jobs
from tonestack.training.progress import progress_of

import numpy as np
import pandas as pd

LEVEL_ON = 64  # unlabelled recordings on which a fold's level is measured


def build(call: Call, experiments: list[Experiment]) -> list[FoldJob]:
    """All jobs of this call, finished or not."""
    competition, table = call.competition(), call.labels.folds
    chosen = parse_folds(call.words.fold, sorted(int(fold) for fold in table["fold"].unique() if fold >= 0))
    return [job for experiment in experiments for job in _jobs_of(call, experiment, table, chosen, competition)]


def _jobs_of(
    call: Call, experiment: Experiment, table: pd.DataFrame, chosen: list[int], competition: Competition
) -> list[FoldJob]:
    task, predicted = call.task, call.rows
    store = Store.open(call.cache, experiment.config.frontend, call.data.audio)
    revision = call.labels.revision(experiment.revision)
    cross_fitted = revisions.cross_fitted(call.folds, experiment.revision)
    test, options = list(predicted.test_ids), call.options
    columns, augment = columns_of(competition, table, experiment), experiment.config.augment
    pooled = competition.pool["clip_id"].tolist()
    backgrounds = tuple(pooled) if augment.background and augment.background_pool else ()
    heard, taught_by = teaching(call, experiment)
    shared: dict[str, Any] = {
        "experiment": experiment,
        "task": call.data.task,
        "metric": call.data.metric,
        "outputs": predicted.columns,
        "more_metrics": call.data.more_metrics,
        "options": options,
        "apart": competition.unverified,
        "cache": call.cache,
        "folder": call.oof / experiment.name,
        "audio": call.data.audio,
        "groups": dict(zip(table["clip_id"], table["group"], strict=True)),
        "columns": columns,
        "backgrounds": backgrounds,
        "heard": heard,
        **level_on(call, pooled, test),
        "device": call.words.device,
        "threads": threads_and_jobs(call)[0],
    }
    jobs = []
    for fold in chosen:
        held_out = predicted.oof[predicted.oof["fold"] == fold]
        classes = learnt_classes(task, revision[revision["holdout"] == fold], competition.classes)
        learnt = training_labels.for_holdout(revision, fold, classes, task.targets, experiment.config.training)
        ids = held_out["clip_id"].tolist()
        refuse_unfit(experiment.revision, learnt, task, competition)
        refuse_leak(experiment.revision, fold, learnt.clip_ids, table.loc[table["fold"] == fold, "clip_id"].tolist())
        taught = frozenset(learnt.clip_ids if cross_fitted else ()).intersection(test)
        inputs = {"features": store.fingerprint, "labels": learnt.fingerprint, "clips": fingerprint([ids, test])}
        inputs |= {"taught": fingerprint(sorted(taught))} if taught else {}
        inputs |= start_of(experiment) | taught_by
        inputs |= {"columns": fingerprint(columns)} if columns else {}
        inputs |= {"options": fingerprint(options.settings())} if options else {}
        pool = revisions.pool_labels(call.folds, call.oof, experiment.revision, fold, experiment.model)
        inputs |= {"pool": pool.fingerprint} if pool else {}
        truth, scored = counted_targets(task, held_out["label"], predicted), held_out["verified"].to_numpy()
        own: dict[str, Any] = {"labels": learnt, "classes": classes, "held_out": ids, "inputs": inputs, "pool": pool}
        own |= {"test": test, "taught": taught}
        jobs.append(FoldJob(fold=fold, truth=truth, scored=scored, **own, **shared))
    return jobs


def level_on(call: Call, pool: list[str], test: list[str]) -> dict[str, Any]:
    """The unlabelled recordings on which folds' levels are measured, where it is asked for and test rows are few."""
    if not call.even_levels or len(test) >= oof.LEVEL_LEAST:
        return {}
    evenly = np.linspace(0, len(pool) - 1, min(LEVEL_ON, len(pool))).astype(int)
    return {"level_on": tuple(pool[position] for position in evenly), "window": call.data.student.window}


def counted_targets(task: Task, labels: pd.Series, predicted: Rows) -> np.ndarray:
    """Targets of held-out rows as they are scored: a class that a submission does not speak of is unknown."""
    targets, known = task.row_targets(labels, predicted.labels), predicted.labels
    if predicted.form is not None and not task.one_label:
        spoken = set(predicted.form.spoken(known))
        targets[:, [name not in spoken for name in known]] = np.nan
    return targets


def teaching(call: Call, experiment: Experiment) -> tuple[tuple[str, ...], dict[str, str]]:
    """The test clips that a distilled network hears, and the fingerprint of all embeddings that it learns."""
    distil = experiment.config.training.distil
    if not distil.epochs:
        return (), {}
    heard = tuple(call.competition().test["clip_id"]) if distil.test else ()
    store = Store.open(call.cache, distil.teacher, call.data.audio)
    return heard, {"teacher": fingerprint([store.fingerprint, heard])}


def start_of(experiment: Experiment) -> dict[str, str]:
    """The hash of the published weights that a network starts from, if its folds depend on a file of them."""
    network = experiment.config.network
    path = located(network.get("weights")) if pretrained.fixes_frontend(network) else None
    return {"weights": kept_hash(path)} if path and path.is_file() else {}


def learnt_classes(task: Task, learnt: pd.DataFrame, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that a holdout's network learns: all, or (open-set task) those of its training clips."""
    if not task.open_set:
        return classes
    present = set(learnt["label"])
    return tuple(name for name in classes if name in present)


def columns_of(competition: Competition, table: pd.DataFrame, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The columns that a model config's `columns` names, each as clip to value: the folds' `verified`, the reader's."""
    wanted = experiment.config.network.get("columns", ())
    tables = table[["clip_id", "verified"]], competition.extras.get("clips", pd.DataFrame(columns=["clip_id"]))
    known = {name: each for each in tables for name in each.columns.drop("clip_id")}
    if strange := [name for name in wanted if name not in known]:
        place = f"{experiment.model}: network.columns"
        raise UserError(f"{place}: this reader knows no '{strange[0]}' of a clip ({', '.join(known)})")
    return {name: dict(zip(known[name]["clip_id"], known[name][name], strict=True)) for name in wanted}


def refuse_leak(revision: str, fold: int, learnt: list[str], held_out: list[str]) -> None:
    """Refuse a revision that shows a holdout its own clips: it was made for other folds."""
    seen = sorted(set(learnt) & set(held_out))
    if seen:
        raise UserError(
            f"label revision '{revision}': holdout {fold} would train on clips that it is scored on ({seen[0]}; "
            f"{len(seen)} in all); it was made for other folds: make it anew"
        )


def refuse_unfit(revision: str, learnt: training_labels.Labels, task: Task, competition: Competition) -> None:
    """Refuse a revision, given by somebody, that names no clip of this competition, or labels its task does not know.

    Of one label per clip no share may be unknown.
    """
    known = {*competition.train["clip_id"], *competition.test["clip_id"], *competition.pool["clip_id"]}
    strange = next((clip for clip in learnt.clip_ids if clip not in known), None)
    if strange is not None:
        raise UserError(f"label revision '{revision}': '{strange}' is no clip of this competition; remove its rows")
    unknown = np.isnan(learnt.targets).any(axis=1)
    if task.one_label and unknown.any():
        clip = learnt.clip_ids[int(unknown.argmax())]
        raise UserError(f"label revision '{revision}': clip '{clip}' has a blank class column; fill it, or remove it")


def pending(call: Call, experiments: list[Experiment]) -> list[FoldJob]:
    """The jobs that are not up to date; settings that would change what a name means are refused."""
    for experiment in experiments:
        oof.own_folder(call.oof / experiment.name)
        refuse_changed_meaning(call.oof / experiment.name, experiment)
    jobs = build(call, experiments)
    todo = [job for job in jobs if job.finished() is None]
    served = sum(made_network(job) is not None for job in todo)
    rest = f", {served} to predict with finished networks" if served else ""
    print(f"train: {len(jobs) - len(todo)} of {len(jobs)} folds up to date, {len(todo) - served} to train{rest}")
    return todo


def run_all(call: Call, todo: list[FoldJob]) -> None:
    """Run jobs on the call's engine, longest first; a bar counts epochs, every finished fold is a line."""
    if not todo:
        return
    engine = parts.find("engines", call.words.engine)
    order = sorted(todo, key=lambda job: (-_cost(job), job.experiment.name, job.fold))
    with progress_of(order) as done:
        for receipt in engine.run(call, order):
            done(receipt)


def _cost(job: FoldJob) -> float:
    """Rough work of a job, for the order only: the longest of earlier folds of the experiment, else its epochs."""
    seconds = [float(read_json(path).get("seconds", 0)) for path in job.folder.glob("fold*.json")]
    return max(seconds, default=0.0) or 1e6 + job.epochs
