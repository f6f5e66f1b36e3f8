"""What a reader returns: the competition as tables of text, no audio opened."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import check_text

import pandas as pd

RESERVED = re.compile(r"clip_id|fname|part|holdout|label|weight|source|__index_level_\d+__|Unnamed: \d+")


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

    def checked(self) -> "Competition":
        """The same, its class names fit for a column of every table; others are a `UserError`."""
        for name in self.classes:
            check_text(name, f"{self.root}: class")
            if RESERVED.fullmatch(name):
                raise UserError(f"{self.root}: class '{name}' is called like a column of our own tables; rename it")
        return self
