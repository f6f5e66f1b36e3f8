"""What the report says where scores are at chance."""

from types import SimpleNamespace
from typing import Any

from tonestack.report import page
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


def test_the_head_of_the_page_tells_the_score_of_the_choice_not_that_of_its_table() -> None:
    made = material(0.9, 0.1)
    board = made.board.assign(experiment=["a@r0", "mean@r0"], public=np.nan, private=np.nan)
    vars(made).update(board=board, clips=range(10), first="mean@r0", submitted="mean@r0")
    made.choice = {"table": "mean@r0", "cv": 0.85, "se": 0.11}
    nested = {"Submitted": "mean@r0", "CV of the choice, nested": "0.8500 ± 0.1100"}
    assert dict(page.facts(made)).items() >= nested.items()
    made.submitted = None
    assert dict(page.facts(made))["Chosen"] == "mean@r0"
    made.choice = {}
    assert dict(page.facts(made)).items() >= {"Best table": "mean@r0", "CV": "0.9000 ± 0.1000"}.items()


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
