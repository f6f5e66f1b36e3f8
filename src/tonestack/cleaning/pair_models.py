"""Pair models: each is trained without two folds j and k, and predicts the clips of fold j for holdout k.

The training labels of holdout k are decided without any label of fold k. So a clip of fold j is predicted for holdout
k by a model trained on k's training clips less fold j: a cross-validation inside every holdout. On the given labels
(r0) the model without j and k serves both, and five folds need ten pair models. On a revision, whose rows differ by
holdout, they need twenty. With fewer than three folds the folds are split into inner parts instead.

Pair models are fold jobs like any other, under `oof/<name>/.pairs/<model>-without<k>@<revision>/fold<j>.*`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tonestack import tasks
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, name_hash
from tonestack.config.call import Call, Experiment
from tonestack.tables import oof
from tonestack.training import queue
from tonestack.training.job import FoldJob, config_fingerprint

import numpy as np
import pandas as pd

INNER = 5  # inner parts of a fold where there are fewer than three folds


@dataclass(frozen=True)
class Partition:
    """Fold (N,) of each training clip, -1 for clips that are never predicted, and part (N,).

    A part is left out by one pair model and lies inside one fold. Usually the parts are the folds.
    """

    clip_ids: list[str]
    fold: np.ndarray
    part: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Partition":
        """Partition a folds table; labels are not used."""
        fold = table["fold"].to_numpy(dtype=int)
        part = fold.copy()
        if (fold < 0).any() or len(np.unique(fold)) < 3:
            names = table["group"].where(table["group"] != "", table["clip_id"])
            inner = [name_hash(name) % INNER for name in names]
            part = (fold + 1) * INNER + np.array(inner)
        return cls(table["clip_id"].tolist(), fold, part)

    @property
    def holdouts(self) -> list[int]:
        """The folds that are predicted."""
        return sorted(int(k) for k in np.unique(self.fold[self.fold >= 0]))

    @property
    def plain(self) -> bool:
        """True if parts and folds are the same."""
        return bool((self.part == self.fold).all())

    def parts(self, holdout: int) -> list[int]:
        """Return the parts to be predicted for a holdout."""
        return sorted(int(p) for p in np.unique(self.part[self.fold != holdout]))


def build(call: Call, experiment: Experiment) -> list[FoldJob]:
    """Return the pair jobs of one experiment, finished or not."""
    table = call.labels.folds
    partition = Partition.of(table)
    bases = {job.fold: job for job in queue.build(call.but(fold=None), [experiment])}
    made = []
    for k in partition.holdouts:
        for p in partition.parts(k):
            if not (_shared(partition, experiment) and p < k):
                made.append(_pair(call, bases[k], table, partition, p))
    return made


def _shared(partition: Partition, experiment: Experiment) -> bool:
    """True if the model without j for holdout k is also the one without k for holdout j."""
    return partition.plain and experiment.revision == "r0"


def _pair(call: Call, base: FoldJob, table: pd.DataFrame, partition: Partition, part: int) -> FoldJob:
    """Return the job of holdout `base.fold` without one part; it predicts the part (and the fold, if shared)."""
    out = dict(zip(partition.clip_ids, partition.part == part, strict=True))
    keep = np.array([not out.get(name, False) for name in base.labels.clip_ids])
    if not keep.any():
        raise UserError(f"holdout {base.fold}: no clip is left to train a pair model on; give more folds")
    learnt = base.labels.take(keep)
    asked = partition.part == part
    if _shared(partition, base.experiment):
        asked = asked | (partition.fold == base.fold)
    held_out = table[asked]
    names = held_out["clip_id"].tolist()
    experiment = _without(base.experiment, base.fold)
    settings = config_fingerprint(experiment)
    inputs = {key: value for key, value in base.inputs.items() if key != "pool"}
    inputs |= {"labels": learnt.fingerprint, "clips": fingerprint(names), "config": settings}
    return replace(
        base,
        experiment=experiment,
        fold=part,
        folder=call.oof / ".pairs" / experiment.name,
        labels=learnt,
        held_out=names,
        truth=tasks.find(base.task).targets(held_out["label"], base.classes),
        scored=held_out["verified"].to_numpy(),
        test=[],
        taught=frozenset(),
        inputs=inputs,
        pool=None,  # its teachers have learnt the labels of the part
        level_on=(),
        keep_weights=False,  # nothing but the table is read again
    )


def _without(experiment: Experiment, holdout: int) -> Experiment:
    variant = f"{experiment.variant}-" if experiment.variant else ""
    return replace(experiment, variant=f"{variant}without{holdout}")


def predictions(call: Call, experiments: Sequence[Experiment]) -> np.ndarray:
    """Train missing pair models; return the geometric mean over experiments (K, N, C), NaN in the holdout's fold."""
    todo: list[FoldJob] = []
    every: list[list[FoldJob]] = []
    for experiment in experiments:
        made = build(call, experiment)
        every.append(made)
        todo += [job for job in made if job.finished() is None]
    count = sum(map(len, every))
    print(f"pair models: {count - len(todo)} of {count} up to date, {len(todo)} to train")
    queue.run_all(call, todo)
    partition = Partition.of(call.labels.folds)
    one_label = call.task.one_label
    mean = np.mean([oof.to_logs(_read(made, partition), one_label) for made in every], axis=0)
    found: np.ndarray = call.task.probabilities(mean) if one_label else oof.from_logs(mean, one_label)
    return found


def _read(made: list[FoldJob], partition: Partition) -> np.ndarray:
    """Return probabilities (K, N, C) of one experiment's pair models."""
    classes = list(made[0].classes)
    holdout_of = {k: i for i, k in enumerate(partition.holdouts)}
    row_of = pd.Index(partition.clip_ids)
    result = np.full((len(holdout_of), len(row_of), len(classes)), np.nan, np.float32)
    for job in made:
        table = pd.read_parquet(job.folder / f"fold{job.fold}.parquet")
        rows, values = row_of.get_indexer(pd.Index(table["clip_id"])), table[classes].to_numpy(np.float32)
        holdout = int(str(job.experiment.variant).rpartition("without")[2])
        inside = partition.part[rows] == job.fold
        result[holdout_of[holdout], rows[inside]] = values[inside]
        if not inside.all():  # the fold itself: the same model predicts it for the other holdout
            result[holdout_of[job.fold], rows[~inside]] = values[~inside]
    return result
