"""Tasks: the meaning of a model's outputs, and the rows of its tables.

One file per task, found by name; it defines `TASK`, an object of a class below `Task`. The defaults of `Task` are
those of tables of clips x classes, so that a task says only how it differs. Nothing outside this room asks for a
task's name.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tonestack.base import parts
from tonestack.base.errors import UserError, nearest
from tonestack.labels import folds
from tonestack.settings.data_config import DataConfig, FoldParams
from tonestack.tables.competition import Competition
from tonestack.tables.rows import Rows

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor


class Task:
    """The contract of a task, with its defaults."""

    name: str
    metrics: tuple[str, ...] = ("log_loss",)  # printed for every fold beside the competition's own metric
    loss = "cross_entropy"  # of a model config that names none
    defaults: dict[str, Any] = {}  # of the data config, below its YAML file
    one_label = True  # exactly one class is true of a clip: rows of probabilities sum to one
    tags = True  # rows are clips x classes with labels: recordings can be tagged, clips pseudo-labelled
    clip_rows = True  # rows are clips
    open_set = False  # the classes of held-out clips are not among those that the network learns

    @property
    def truth_kind(self) -> str:
        """The kind of truth of the table's rows, of `metrics.KINDS`: a metric must take it."""
        if not self.clip_rows:
            return "trials"
        return "one label per clip" if self.one_label else "several labels per clip"

    def check(self, config: DataConfig) -> None:
        """Refuse settings of the data config that make no sense for this task, as `UserError`."""

    # ------------------------------------------------------------------------------------------------------- labels

    def label_lists(self, labels: pd.Series) -> pd.Series:
        """The labels of every clip (n,) as lists."""
        return labels.astype(str).map(lambda label: [label])

    def strata(self, labels: pd.Series) -> pd.Series:
        """What folds are stratified by, lists for the clips (n,): their labels."""
        return self.label_lists(labels)

    def targets(self, labels: pd.Series, classes: tuple[str, ...]) -> np.ndarray:
        """Encode labels (n,) as the rows (n, C) that a network learns; an unknown label is a `UserError` naming it."""
        single = self.label_lists(labels).reset_index(drop=True).explode()
        codes = pd.Index(list(classes)).get_indexer(pd.Index(single))
        if (codes < 0).any():
            wrong = str(single.to_numpy()[codes < 0][0])
            raise UserError(f"label '{wrong}' is not among the {len(classes)} classes{nearest(wrong, classes)}")
        rows = np.zeros((len(labels), len(classes)), dtype=np.float32)
        rows[single.index.to_numpy(), codes] = 1
        return rows

    def row_targets(self, labels: pd.Series, known: tuple[str, ...]) -> np.ndarray:
        """Targets of the table's rows, where they are not those that a network learns."""
        return self.targets(labels, known)

    def truth(self, targets: np.ndarray) -> np.ndarray:
        """Targets as metrics take them: class indices (n,) of one-hot rows (n, C)."""
        return targets.argmax(axis=1)

    def row_truth(self, labels: Sequence[str], known: tuple[str, ...]) -> np.ndarray:
        """Labels of the table's rows as metrics take them."""
        return self.truth(self.row_targets(pd.Series(labels, dtype=object), known))

    def labels_of(self, probabilities: np.ndarray, classes: tuple[str, ...]) -> list[str]:
        """The label that each row of probabilities (n, C) gives: the likeliest class."""
        return [classes[best] for best in probabilities.argmax(axis=1)]

    # ------------------------------------------------------------------------------------------------------ outputs

    def log_probabilities(self, logits: "Tensor") -> "Tensor":
        """Turn logits (B, C) into log-probabilities."""
        return logits.log_softmax(dim=1)

    def probabilities(self, logs: np.ndarray) -> np.ndarray:
        """Turn log-probabilities, known up to a constant per row, into rows (..., C) that sum to one."""
        likelihood = np.exp(logs - logs.max(axis=-1, keepdims=True))  # the likeliest is 1: no row underflows to 0 / 0
        shares: np.ndarray = likelihood / likelihood.sum(axis=-1, keepdims=True)
        return shares

    # --------------------------------------------------------------------------------------------- folds and tables

    def assign(self, train: pd.DataFrame, params: FoldParams, place: str) -> pd.DataFrame:
        """The folds table of a reader's training clips; `place` names the settings in errors."""
        return folds.assign(train, params, place, None if self.one_label else self.strata)

    def write_rows(self, folder: Path, table: pd.DataFrame, competition: Competition, options: Any, place: str) -> None:
        """Write what lies beside the folds table in `folder`. options: the data config's section of the task's name."""

    def rows(self, folder: Path, table: pd.DataFrame, competition: Competition) -> Rows:
        """The rows and columns of the prediction tables. table: the folds table."""
        classes, test = competition.classes, tuple(competition.test["clip_id"])
        return Rows(table, test, classes, classes, competition.submission, folder / "r0.csv")

    def tables(self, job: Any, fitted: Any, predicted: Callable[[], np.ndarray]) -> dict[str, np.ndarray]:
        """Values of the held-out rows, then the test rows, by the suffix of their table's name.

        The suffix "" is the experiment's own table; others lie beside it, as variants. predicted: makes the
        probabilities of clips (R, C).
        """
        return {"": predicted()}

    # ----------------------------------------------------------------------------------------------- after a stage

    def trained(self, folders: Sequence[Path], competition: Competition) -> None:
        """Write what follows from the finished tables in the experiments' folders."""

    def scored(self, oof: Path, reports: Path, labels: pd.DataFrame) -> None:
        """Print and draw more about test rows. labels: `clip_id, label` of those whose truth is known."""


def find(name: str) -> Task:
    """The task called `name`; an unknown name is a `UserError`."""
    task: Task = parts.find("tasks", name).TASK
    return task
