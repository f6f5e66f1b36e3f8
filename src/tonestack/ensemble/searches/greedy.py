"""Greedy forward selection with replacement (Caruana et al., Ensemble selection from libraries of models, 2004)."""

from pathlib import Path

from tonestack.ensemble.blends import Blend
from tonestack.ensemble.problem import Problem
from tonestack.settings.data_config import BlendParams

import numpy as np

COMPLEXITY = 15
PATIENCE = 10  # steps without a better score before the selection ends


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend:
    """Add, again and again, the table that helps most; keep the shortest selection of the best score."""
    counts = np.zeros(problem.count)
    total: np.ndarray | float = 0.0  # of the margins of the tables taken so far
    best_value, best_counts, since = -np.inf, counts, 0
    for step in range(params.greedy_steps):
        candidates = (counts + np.eye(problem.count)) / (step + 1)
        if problem.metric.ranked:
            margins = problem.margins(params.power)
            chosen, value = problem.of_least_loss(margins.evaluate_added(total), candidates, params.power)
            if problem.told:
                problem.told(problem.count)
            total = total + margins.values[chosen]
        else:
            chosen, value = problem.best(candidates, params.power)
        counts = counts + np.eye(problem.count)[chosen]
        since += 1
        if value > best_value + 1e-12:
            best_value, best_counts, since = value, counts, 0
        if since >= PATIENCE:
            break
    return Blend(best_counts / best_counts.sum(), params.power, normalise=problem.normalise)


def work(problem: Problem, params: BlendParams) -> int:
    """Weightings scored, if the selection does not end early."""
    return params.greedy_steps * problem.count
