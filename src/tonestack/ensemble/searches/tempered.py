"""Temperatures and weights of least log loss.

Under a geometric mean temperatures are weights: only their common level is free, and it is fitted together
with the weights (a log-linear pool whose weights need not sum to 1). Under other means every table gets the
temperature of its own least log loss first, then the weights are fitted on the tempered tables.
"""

from pathlib import Path

from tonestack.ensemble.blends import Blend, tempered, to_summand
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.searches.log_loss import loss_and_slope, minimise
from tonestack.settings.data_config import BlendParams
from tonestack.tables.metrics import cells, resolve

import numpy as np
from scipy.optimize import minimize, minimize_scalar

COMPLEXITY = 20


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend:
    """Weights (M,) on the simplex and temperatures (M,)."""
    power = params.power if problem.normalise else 1.0
    if power == 0:
        return _free_pool(problem)
    temperatures = np.array([temperature(t, problem.targets, problem.normalise) for t in problem.tables])
    soft = (tempered(t, float(h), problem.normalise) for t, h in zip(problem.tables, temperatures, strict=True))
    summands = np.stack([to_summand(t, power, problem.normalise) for t in soft])
    return Blend(minimise(summands, problem, power), power, temperatures, problem.normalise)


def _free_pool(problem: Problem) -> Blend:
    """Minimise over non-negative weights v of any sum; the common temperature is 1 / sum(v)."""
    summands = problem.summands(0.0)
    truth = cells(problem.targets, summands.shape[2])

    def objective(free: np.ndarray) -> tuple[float, np.ndarray]:
        return loss_and_slope(free, summands, truth, 0.0, True)

    start = np.full(problem.count, 1 / problem.count)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, 10)] * problem.count)
    total = max(float(found.x.sum()), 1e-3)
    weights = found.x / total if found.x.any() else start
    return Blend(weights, 0.0, np.full(problem.count, 1 / total))


def temperature(table: np.ndarray, targets: np.ndarray, normalise: bool = True) -> float:
    """Temperature between 0.2 and 5 of least log loss for one table (N, C) (Guo et al. 2017)."""
    loss = resolve("log_loss")
    found = minimize_scalar(
        lambda log_t: float(loss(tempered(table, float(np.exp(log_t)), normalise), targets)),
        bounds=(np.log(0.2), np.log(5.0)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))
