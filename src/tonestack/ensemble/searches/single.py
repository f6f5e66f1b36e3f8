"""The best single table: the baseline of every blend."""

from pathlib import Path

from tonestack.ensemble.blends import Blend
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.trials import fusion
from tonestack.ensemble.trials.fusion import Fusion
from tonestack.settings.data_config import BlendParams

import numpy as np

COMPLEXITY = 5  # one choice among M tables; an equal mean chooses nothing
ROWS = ("probabilities", "scores")


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend | Fusion:
    """All weight on the table that scores best; log loss breaks ties, then the order of names."""
    order = np.argsort(problem.names)
    metric = problem.objective
    values = np.array([metric.sign * float(metric(problem.tables[m], problem.targets)) for m in order])
    one_hot = np.eye(problem.count)[order]
    best, _ = problem.of_least_loss(values, one_hot, power=1.0)
    if not problem.probabilities:
        return calibrated(problem, int(one_hot[best].argmax()))
    return Blend(one_hot[best], power=1.0, normalise=problem.normalise)


def calibrated(problem: Problem, chosen: int) -> Fusion:
    """Return one table of scores as log-likelihood ratios: other folds may choose a table of another scale."""
    alone = fusion.fitted(problem.tables[[chosen]], problem.targets)
    return Fusion(np.where(np.arange(problem.count) == chosen, alone.weights[0], 0.0), alone.bias)
