"""What the report says where scores are at chance."""

from types import SimpleNamespace
from typing import Any

from tonestack.report.sections import leaderboard
from tonestack.tables.metrics import resolve

import numpy as np
import pandas as pd
import pytest


def material(cv: float, se: float, metric: str = "accuracy", one_label: bool = True) -> Any:
    folds = pd.DataFrame({"verified": [True] * 8, "fold": [0, 1] * 4})
    board = pd.DataFrame({"cv": [np.nan, cv], "cv_se": [np.nan, se]})
    targets = np.array([0, 0, 0, 0, 0, 0, 1, 2])
    return SimpleNamespace(
        board=board, folds=folds, one_label=one_label, targets=targets, classes=("a", "b", "c"), metric=resolve(metric)
    )


@pytest.mark.parametrize(
    ("cv", "se", "metric", "said"),
    [(0.75, 0.1, "accuracy", True), (0.9, 0.1, "accuracy", True), (0.96, 0.1, "accuracy", False),
     (0.80, 0.01, "log_loss", True), (0.50, 0.01, "log_loss", False), (0.5, np.nan, "accuracy", True)],
)  # fmt: skip
def test_a_score_at_chance_is_said(cv: float, se: float, metric: str, said: bool) -> None:
    text = leaderboard.at_chance(material(cv, se, metric))
    assert ("is at chance" in text) == said
    if said and metric == "accuracy":
        assert "score 0.7500" in text
    assert leaderboard.at_chance(material(cv, se, metric, one_label=False)) == ""
