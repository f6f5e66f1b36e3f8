"""Logistic regression on trial scores; a single table is calibrated by it, its order kept."""

from pathlib import Path

from tonestack.ensemble.problem import Problem
from tonestack.ensemble.trials import fusion
from tonestack.ensemble.trials.fusion import Fusion
from tonestack.settings.data_config import BlendParams

COMPLEXITY = 10
ROWS = ("scores",)


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Fusion:
    """Weights and bias of least balanced log loss."""
    return fusion.fitted(problem.tables, problem.targets)
