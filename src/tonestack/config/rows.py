"""What the rows and columns of a competition's prediction tables are: clips x classes, or what its task says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.config.call import Run
from tonestack.labels import folds
from tonestack.tables.competition import SubmissionFormat

import pandas as pd


@dataclass(frozen=True)
class Rows:
    """The rows and columns of every prediction table of a competition.

    oof: `clip_id, label, verified, fold` of the rows that folds predict. test_ids: the rows that every fold's model
    predicts. columns: of the table. labels: what `label` may say, in the order of the metrics' class indices.
    probabilities: whether values are probabilities (or scores of any size). form: the submission's, if there is one.
    whole: whether a submission also has the OOF rows. file: what the folds' rows are read from.
    """

    oof: pd.DataFrame
    test_ids: tuple[str, ...]
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    form: SubmissionFormat | None
    file: Path
    probabilities: bool = True
    whole: bool = False


def of(run: Run) -> Rows:
    """The rows of a call's competition; a task that has no `rows(run)` predicts clips x classes."""
    task: Any = parts.find("tasks", run.data.task)
    if hasattr(task, "rows"):
        made: Rows = task.rows(run)
        return made
    competition = run.competition()
    test, classes = tuple(competition.test["clip_id"]), competition.classes
    return Rows(folds.read(run.folds), test, classes, classes, competition.submission, run.folds / "r0.csv")
