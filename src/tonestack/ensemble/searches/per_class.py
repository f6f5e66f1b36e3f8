"""Weights per class, shrunk towards shared ones: softmax(a_m + d_mc), with class_shrinkage x mean(d^2) added.

Minimises log loss by L-BFGS. The family is the geometric mean (p = 1 for independent labels).
"""

from pathlib import Path

from tonestack.ensemble.blends import Blend, from_sum
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.searches.log_loss import sigmoid_part, softmax_part
from tonestack.settings.data_config import BlendParams
from tonestack.tables.metrics import cells

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

COMPLEXITY = 40


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend:
    """Weights (M, C), every column on the simplex."""
    power = 0.0 if problem.normalise else 1.0
    summands = problem.summands(power)  # (M, N, C)
    models, clips, classes = summands.shape
    truth = cells(problem.targets, classes)

    def objective(free: np.ndarray) -> tuple[float, np.ndarray]:
        shared, own = free[:models, None], free[models:].reshape(models, classes)
        weights = softmax(shared + own, axis=0)
        total = np.einsum("mc,mnc->nc", weights.astype(np.float32), summands)
        q = from_sum(total, power, problem.normalise)
        loss, slope = softmax_part(q, truth) if problem.normalise else sigmoid_part(q, truth)
        slope = slope if power == 0 else slope / total
        by_weight = np.einsum("mnc,nc->mc", summands, slope) / clips
        by_own = weights * (by_weight - (weights * by_weight).sum(axis=0))
        penalty = params.class_shrinkage * (own**2).sum() / models
        by_free = by_own + 2 * params.class_shrinkage * own / models
        return loss / clips + float(penalty), np.r_[by_own.sum(axis=1), by_free.ravel()]

    start = np.zeros(models * (1 + classes))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    weights = softmax(found.x[:models, None] + found.x[models:].reshape(models, classes), axis=0)
    return Blend(weights, power, normalise=problem.normalise)
