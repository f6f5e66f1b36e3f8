"""Noisy-student rounds (Xie et al. 2020): models label a pool of recordings, the next networks learn from it.

Holdout k's teachers are the models of holdout k of the round before, none of which has seen fold k, so that scores of
the next round stay honest. Labels are soft, one row per piece of the pool (`labels/pool_labels.py`). A student's every
labelled crop is mixed with a piece that is drawn by how much the teachers find in it (`training/augment.py:
add_partners`). The rounds' revisions have the base's rows; what they add is in their receipts (`pool`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack.base.console import aligned, bar
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, kept_hash, read_json, write_csv, write_json, write_parquet
from tonestack.cleaning import choose, label_pictures, revision_files
from tonestack.cleaning.pair_models import Partition
from tonestack.config.call import Call, Experiment
from tonestack.ensemble.tables import Tables
from tonestack.features import pieces
from tonestack.features.store import Store
from tonestack.labels import revisions
from tonestack.networks import weights
from tonestack.settings.data_config import StudentParams
from tonestack.tables.decisions import KEEP
from tonestack.tables.metrics import Metric
from tonestack.training import learners, queue
from tonestack.training.device import choose_device, set_up_process
from tonestack.training.job import FoldJob, threads_and_jobs

import joblib
import numpy as np
import pandas as pd

COLUMNS = ["round", "revision", "power", "pieces", "labels", "cv", "se", "pooled"]


def wanted(call: Call) -> bool:
    """True if there is a pool, clips have several labels and rounds are asked for."""
    return call.data.student.rounds > 0 and len(call.competition().pool) > 0 and not call.task.one_label


def make_rounds(call: Call, base: str) -> str:
    """Train on `base`, run all rounds, and return the revision of the best one, by labelled clips (`base`: none)."""
    params = call.data.student
    names = [base]
    everything = call.but(fold=None, revision=None)
    groups = [train(everything, base)]
    lines = [{"round": 0, "revision": base}]
    for number in range(1, params.rounds + 1):
        name, power = f"{params.name}{number}", params.of_round(params.power, number)
        write_revision(everything, params, base, groups[-1], name, power)
        groups.append(train(everything, name))
        names.append(name)
        lines.append({"round": number, "revision": name, "power": power} | measured(call, name, groups[-1]))
    return decide(call, names, groups, lines)


def train(call: Call, revision: str) -> list[Experiment]:
    """Train the rounds' models on a revision unless they are up to date."""
    made = students(call, revision)
    queue.run_all(call, queue.pending(call, made))
    return made


def students(call: Call, revision: str) -> list[Experiment]:
    """The networks of the rounds, on a revision; `UserError` if there is none."""
    named = call.data.student.models
    made = [call.experiment(name, revision) for name in named] if named else call.experiments(revision)
    made = [one for one in made if learners.name_of(one.config.network) == "network"]  # trees have no crops to mix
    if not made:
        raise UserError("student: none of the models is a network; give model= or student.models=")
    return made


def write_revision(
    call: Call, params: StudentParams, base: str, teachers: list[Experiment], name: str, power: float
) -> None:
    """Let the teachers label the pool, and write the round's revision: the base's rows, and who taught what."""
    label_pool(call, params, teachers)
    rows = call.labels.revision(base)
    settings = params.model_dump(include={"share", "cut", "least", "draw", "teachers", "drop_path"}) | {"power": power}
    files = [call.oof / e.name / f"pool{k}.parquet" for e in teachers for k in Partition.of(call.labels.folds).holdouts]
    inputs = {
        "base": revision_files.of_rows(rows),
        "pool": fingerprint([[kept_hash(path) for path in files], settings]),
    }
    if revision_files.up_to_date(call.folds, name, inputs):
        print(f"student: {name} up to date")
        return
    said = {"teachers": {experiment.name: experiment.model for experiment in teachers}, "settings": settings}
    receipt = {"parent": teachers[0].revision, "method": "student", "base": base, "pool": said, "inputs": inputs}
    decided = revision_files.read_decisions(call.folds, base)
    if decided is None:
        decided = revision_files.given_decisions(call.labels.folds).assign(decision=KEEP)
    revision_files.write(call.folds, name, rows, decided, receipt)


# ------------------------------------------------------------------------------------------------- labels of the pool


def label_pool(call: Call, params: StudentParams, teachers: list[Experiment]) -> None:
    """Write `pool<k>.parquet` of every teacher and holdout unless it is up to date."""
    jobs = queue.build(call, teachers)
    todo = [job for job in jobs if not _labelled(job, params)]
    pool = call.competition().pool["clip_id"].tolist()
    n_jobs = 1 if choose_device(call.words.device).type == "cuda" else threads_and_jobs(call)[1]
    calls = (joblib.delayed(label_with)(job, pool, params) for job in todo)
    with bar(len(todo), "student", "models") as shown:
        for _ in joblib.Parallel(n_jobs, return_as="generator_unordered")(calls):
            shown.update()


def label_with(job: FoldJob, pool: list[str], params: StudentParams) -> None:
    """Predict every piece of the pool with one fold's model: the clip's own windows, one probability per class."""
    set_up_process(job.threads)
    settings, device = job.experiment.config, choose_device(job.device)
    store = Store.open(job.cache, settings.frontend, job.audio)
    table = pieces.windows(store, pool, params.window)
    wider, ids = pieces.with_pieces(store, table)
    tensors = weights.read_fold(job.folder / f"fold{job.fold}.safetensors", job.headings)
    learner = learners.find(settings.network)
    model = learner.restore(settings, tensors, len(job.classes), job.task, device)
    path = job.folder / f"pool{job.fold}.parquet"
    write_labels(path, table, model.log_probabilities(wider, ids), job.classes)
    write_json(path.with_suffix(".pool.json"), _inputs(job, params))


def write_labels(path: Path, pieces: pd.DataFrame, logs: np.ndarray, classes: Sequence[str]) -> None:
    """Write a teacher's table: `recording, start, end` and a probability per class; unheard pieces (NaN) are left out.

    logs: log-probabilities (n, C) of the pieces.
    """
    heard = ~np.isnan(logs).any(axis=1)
    values = np.exp(np.minimum(logs[heard], 0.0)).astype(np.float32)
    labelled = pd.DataFrame(values, columns=list(classes))
    for position, name in enumerate(pieces):
        labelled.insert(position, name, pieces[name].to_numpy()[heard])
    write_parquet(path, labelled)


def _labelled(job: FoldJob, params: StudentParams) -> bool:
    path = job.folder / f"pool{job.fold}.parquet"
    receipt = path.with_suffix(".pool.json")
    return path.is_file() and receipt.is_file() and read_json(receipt) == _inputs(job, params)


def _inputs(job: FoldJob, params: StudentParams) -> dict[str, Any]:
    """What a teacher's labels depend on."""
    return {"weights": kept_hash(job.folder / f"fold{job.fold}.safetensors"), "window": params.window} | job.inputs


# ---------------------------------------------------------------------------------------------------- the best round


def measured(call: Call, revision: str, students: list[Experiment]) -> dict[str, Any]:
    """Pieces that a holdout's students draw from and classes that are there in them, mean over holdouts."""
    classes, found = call.competition().classes, []
    for k in Partition.of(call.labels.folds).holdouts:
        pool = revisions.pool_labels(call.folds, call.oof, revision, k, students[0].model)
        assert pool is not None
        targets = pool.read(classes)[1]
        found.append((len(targets), int((targets >= 0.5).sum())))
    clips, labels = np.mean(found, axis=0)
    return {"pieces": round(float(clips)), "labels": round(float(labels))}


def decide(call: Call, names: list[str], groups: list[list[Experiment]], lines: list[dict[str, Any]]) -> str:
    """Print the rounds with their scores, write table and picture, and return the best revision.

    The best by the mean over folds. Rows of several folds come from several models: one that has heard a class in the
    soundscapes it learnt from says it everywhere more often than one that has not, which a metric over all rows (AUC)
    takes for errors, and which test rows, predicted by all models, know nothing of.
    """
    scores = [choose.score(call, name, group) for name, group in zip(names, groups, strict=True)]
    tables = Tables.of(call, [experiment.name for experiment in groups[0]])
    problem, part = tables.problem(), tables.fold[tables.scored]
    metric, shown = problem.metric, []
    for line, one in zip(lines, scores, strict=True):
        values = by_fold(metric, one.scores, problem.targets, part)
        found = {"cv": values.mean(), "se": values.std(ddof=1) / np.sqrt(len(values)), "pooled": one.cv}
        shown.append(line | {key: round(float(value), 4) for key, value in found.items()})
    table = pd.DataFrame(shown, columns=COLUMNS)
    best = scores[int((metric.sign * table["cv"]).to_numpy().argmax())]
    write_csv(call.reports / "student.csv", table)
    label_pictures.students(table, call.reports / "student.png")
    print(f"student: mean of {len(groups[0])} models by round, {metric.name}, labelled recordings, mean over folds")
    print(aligned(table.astype(object).where(table.notna(), "")))
    print(f"student: {best.revision}")
    return best.revision


def by_fold(metric: Metric, scores: np.ndarray, targets: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The metric of each fold's rows, without folds in which it has no value."""
    values = np.array([float(metric(scores[part == k], targets[part == k])) for k in np.unique(part)])
    return values[np.isfinite(values)]
