"""The best single table: what every blend has to beat."""

from pathlib import Path

import numpy as np

from tonestack.ensemble.blends import Blend, BlendParams
from tonestack.ensemble.fusion import Fusion
from tonestack.ensemble.problem import Problem

COMPLEXITY = 5  # one choice among M tables; an equal mean chooses nothing
ROWS = ("probabilities", "scores")


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend | Fusion:
    """All weight on the table that scores best; log loss breaks ties, then the order of names."""
    order = np.argsort(problem.names)
    sign = problem.metric.sign
    values = np.array([sign * float(problem.metric(problem.tables[m], problem.targets)) for m in order])
    one_hot = np.eye(problem.count)[order]
    best, _ = problem.of_least_loss(values, one_hot, power=1.0)
    if not problem.probabilities:
        return Fusion(one_hot[best])
    return Blend(one_hot[best], power=1.0, normalise=problem.normalise)
