"""Direct minimisation of the log loss over the weights of a power mean, by L-BFGS with its exact gradient.

The weights are a softmax of free numbers, so they stay on the simplex. For p = 1 the problem is convex in
the weights; for p -> 0 it is a log-linear pool (Hinton 2002, products of experts) and convex too.
"""

from pathlib import Path

from tonestack.ensemble.blends import Blend, from_sum
from tonestack.ensemble.problem import BLAS, Problem
from tonestack.settings.data_config import BlendParams
from tonestack.tables.metrics import UNKNOWN, cells

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

COMPLEXITY = 10
SMALL = 64 << 20  # bytes of tables below which a second BLAS thread costs more than it brings
CHUNK = 1 << 21  # values at a time: temporaries stay in the cache


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend:
    """Weights of least log loss. Independent labels use p = 1, where the classes need no common norm."""
    power = params.power if problem.normalise else 1.0
    summands = problem.summands(power)  # (M, N, C)
    return Blend(minimise(summands, problem, power), power, normalise=problem.normalise)


def minimise(summands: np.ndarray, problem: Problem, power: float) -> np.ndarray:
    """Return the weights (M,) for summands (M, N, C)."""
    truth = cells(problem.targets, summands.shape[2])

    def objective(free: np.ndarray) -> tuple[float, np.ndarray]:
        weights = softmax(free)
        loss, slope = loss_and_slope(weights, summands, truth, power, problem.normalise)
        return loss, weights * (slope - weights @ slope)

    start = np.zeros(len(summands))
    one_thread = 1 if summands.nbytes < SMALL else None
    with BLAS.limit(limits=one_thread, user_api="blas"):
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-10})
    weights = softmax(found.x)
    weights[weights < 1e-6] = 0.0  # a softmax only approaches zero
    return weights / weights.sum()


def loss_and_slope(
    weights: np.ndarray, summands: np.ndarray, truth: np.ndarray, power: float, normalise: bool
) -> tuple[float, np.ndarray]:
    """Log loss of the blend and its gradient (M,); summands (M, N, C), truth (N, C) of `cells`."""
    clips, classes = truth.shape
    loss, slope = 0.0, np.zeros(len(weights))
    step = max(64, CHUNK // (len(weights) * classes))
    every = summands.reshape(len(weights), -1)
    for start in range(0, clips, step):
        y = truth[start : start + step]
        flat = every[:, start * classes : (start + step) * classes]  # a view: no copy for the matrix products
        total = (weights.astype(np.float32) @ flat).reshape(y.shape)
        q = from_sum(total, power, normalise)
        part, d_log_q = softmax_part(q, y) if normalise else sigmoid_part(q, y)
        d_total = d_log_q if power == 0 else d_log_q / (np.float32(power) * total)
        loss += part
        slope += flat @ d_total.ravel()
    return loss / clips, slope / clips


def softmax_part(q: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Cross-entropy and its gradient by log of the unnormalised blend: q - y, y (n, C) of 0 and 1."""
    return -float(np.log(np.maximum(q[y > 0], 1e-30)).sum(dtype=np.float64)), q - y


def sigmoid_part(q: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean binary cross-entropy and its gradient by log q; y (n, C) of 0, 1 and `UNKNOWN`, which counts nothing."""
    q = np.clip(q, 1e-7, 1 - 1e-7)
    loss = -np.where(y > 0, np.log(q), np.log1p(-q))
    slope = (q - y) / (1 - q) / np.float32(y.shape[1])
    unknown = y == UNKNOWN
    if unknown.any():
        loss[unknown] = slope[unknown] = 0
    return float(loss.sum(dtype=np.float64) / y.shape[1]), slope
