"""The choice of a revision: the same models (scouts) are trained on each and compared on verified clips."""

from dataclasses import dataclass

from tonestack.base.console import aligned
from tonestack.base.files import write_csv
from tonestack.cleaning import revision_files
from tonestack.config.call import Call, Experiment
from tonestack.ensemble import nested_cv
from tonestack.ensemble.tables import Tables
from tonestack.tables import oof
from tonestack.tables.metrics import Metric
from tonestack.training import queue

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class RevisionScore:
    """The averaged tables of one revision's scouts: scores (n, C) of the verified clips."""

    revision: str
    scores: np.ndarray
    cv: float
    se: float


def wanted(call: Call) -> bool:
    """True if this call cleans: a method is set, no revision is named, and there are labels to decide on."""
    named = call.words.revision is not None or call.data.clean.method == "none"
    return not named and undecided(call)


def undecided(call: Call) -> bool:
    """True if there are labels to decide on: one per clip, some verified, some not."""
    verified = call.competition().train["verified"].to_numpy(bool)
    return call.task.tags and call.task.one_label and bool(verified.any()) and not bool(verified.all())


def scouts(call: Call) -> tuple[str, ...]:
    """Return the scouts; they should resemble the models that are trained in the end."""
    return call.data.clean.scouts or call.data.clean.judge


def train_scouts(call: Call, names: list[str]) -> list[list[Experiment]]:
    """Train the scouts on each revision unless they are up to date."""
    free = call.but(fold=None, revision=None)
    every = [[free.experiment(model, name) for model in scouts(call)] for name in names]
    queue.run_all(free, queue.pending(free, [experiment for group in every for experiment in group]))
    return every


def choose(call: Call, names: list[str]) -> str:
    """Return the revision with the best scout score; print all, with the nested score of the choice itself.

    Nested: for each fold the best revision on the other folds is scored on this one.
    """
    every = train_scouts(call, names)
    candidates = [score(call, name, group) for name, group in zip(names, every, strict=True)]
    tables = Tables.of(call, [experiment.name for experiment in every[0]])
    problem = tables.problem()
    part = nested_cv.nesting(tables.fold, tables.groups)[tables.scored]
    best = pick(candidates, problem.metric, problem.targets)
    honest = float(problem.metric(nested(candidates, problem.metric, problem.targets, part), problem.targets))
    lines = pd.DataFrame(
        {
            "revision": [f"{'*' if c is best else ' '} {c.revision}" for c in candidates],
            "cv ± se": [f"{c.cv:.4f} ± {c.se:.4f}" for c in candidates],
        }
    )
    print(f"label loop: {', '.join(scouts(call))} on each revision, {problem.metric.name}, verified clips")
    print(aligned(lines))
    print(f"label loop: {best.revision}; the choice itself, nested: {honest:.4f}")
    plain = pd.DataFrame([{"revision": c.revision, "cv": c.cv, "se": c.se, "chosen": c is best} for c in candidates])
    write_csv(call.reports / "label_loop.csv", plain)
    revision_files.publish(call.folds, best.revision)
    return best.revision


def pick(
    candidates: list[RevisionScore], metric: Metric, targets: np.ndarray, rows: np.ndarray | None = None
) -> RevisionScore:
    """Return the best on some clips; the first of equals."""
    keep = slice(None) if rows is None else rows
    return max(candidates, key=lambda c: metric.sign * float(metric(c.scores[keep], targets[keep])))


def nested(candidates: list[RevisionScore], metric: Metric, targets: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return scores (n, C), each clip's by the candidate that is best on the other parts."""
    scores = np.empty_like(candidates[0].scores)
    for k in np.unique(part):
        scores[part == k] = pick(candidates, metric, targets, part != k).scores[part == k]
    return scores


def score(call: Call, revision: str, experiments: list[Experiment]) -> RevisionScore:
    """Score the geometric mean of a revision's tables on verified clips."""
    problem = Tables.of(call, [experiment.name for experiment in experiments]).problem()
    mean = oof.combine_folds(problem.tables, "geometric", problem.normalise)
    mean = problem.decided(mean)
    cv, se = nested_cv.score(problem.metric, mean, problem.targets, call.data.blend.bootstrap, problem.groups)
    return RevisionScore(revision, mean, cv, se)
