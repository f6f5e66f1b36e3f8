"""What a reader returns: the competition as tables of text, no audio opened."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class SubmissionFormat:
    """The competition's own submission format.

    style: `labels` (one column of the k best labels, separated by blanks), `label` (the best one), `scores` (one
    column a class, probabilities) or `raw` (values of any size). `columns` are the file's header in order, `ids` its
    rows in order.
    """

    columns: tuple[str, ...]
    ids: tuple[str, ...]
    style: str = "labels"
    k: int = 3


@dataclass(frozen=True)
class Competition:
    """A competition's csv files, read and checked.

    train: one row a labelled clip: `clip_id, path, label, verified, group, fold`; `path` is relative to
        `root`; `group` is text, empty where no grouping is known; `fold` is the official fold or -1.
        For multi-label tasks `label` is the comma-separated list of labels.
    test: one row an unlabelled clip: `clip_id, path, group`. May be empty (cross-validation only).
    classes: the labels' own spelling, sorted.
    submission: the format of the sample submission, None where there is no test set.
    extras: further tables of a task (trial lists, prompts), by name; `clips` has what else is known of clips.
    notes: what a user should be told whenever the folds are made or used.
    """

    root: Path
    train: pd.DataFrame
    test: pd.DataFrame
    classes: tuple[str, ...]
    submission: SubmissionFormat | None
    extras: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
