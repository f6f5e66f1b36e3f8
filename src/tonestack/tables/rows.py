"""The rows and columns of a competition's prediction tables: clips x classes, or others by its task."""

from dataclasses import dataclass
from pathlib import Path

from tonestack.tables.competition import SubmissionFormat

import pandas as pd


@dataclass(frozen=True)
class Rows:
    """The rows and columns of every prediction table of a competition.

    oof: `clip_id, label, verified, fold` of the rows that folds predict, and `group` where groups are known (of trials:
    the speaker of each side, `group` and `other_group`). test_ids: the rows that every fold's model
    predicts. columns: of the table. labels: the values of `label`, in the order of the metrics' class indices.
    probabilities: values are probabilities, not scores of any size. form: the submission's format, if there is one.
    whole: a submission also has the OOF rows. file: the file that the folds' rows are read from.
    """

    oof: pd.DataFrame
    test_ids: tuple[str, ...]
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    form: SubmissionFormat | None
    file: Path
    probabilities: bool = True
    whole: bool = False
