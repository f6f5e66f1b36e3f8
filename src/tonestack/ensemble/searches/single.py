"""The best single table: what every blend has to beat."""

from pathlib import Path

import numpy as np

from tonestack.ensemble.blends import Blend, BlendParams
from tonestack.ensemble.problem import Problem

COMPLEXITY = 5  # one choice among M tables; an equal mean chooses nothing


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend:
    """All weight on the table that scores best; log loss breaks ties, then the order of names."""
    order = np.argsort(problem.names)
    one_hot = np.eye(problem.count)[order]
    best, _ = problem.best(one_hot, power=1.0)
    return Blend(one_hot[best], power=1.0, normalise=problem.normalise)
