"""The contribution of each table: its score, the correlation of its errors, the loss of the mean without it."""

from tonestack.ensemble.blends import equal
from tonestack.ensemble.problem import Problem
from tonestack.tables.metrics import UNKNOWN

import numpy as np
import pandas as pd


def per_model(problem: Problem, weights: np.ndarray, power: float = 0.0) -> pd.DataFrame:
    """One row per table: score, log loss, weight (of the chosen blend), and the equal blend with and without it.

    `gain`: metric of the equal-weights blend of all tables less that of all others; positive: the table helps.
    """
    count, eye = problem.count, np.eye(problem.count)
    shared = weights if weights.ndim == 1 else weights.mean(axis=1)
    whole = problem.evaluate(equal(count), power)[0]
    without = (1 - eye) / max(count - 1, 1)
    rest = problem.evaluate(without, power) if count > 1 else np.full(1, np.nan)
    sign = problem.objective.sign
    return pd.DataFrame(
        {
            "experiment": problem.names,
            problem.objective.name: sign * problem.evaluate(eye, power),
            "log_loss": problem.log_loss(eye, power),
            "weight": shared,
            "leave_one_out": sign * rest,
            "gain": whole - rest,
            "mean_error_correlation": _mean_others(error_correlation(problem).to_numpy()),
        }
    )


def error_correlation(problem: Problem) -> pd.DataFrame:
    """Correlation (M, M) of the tables' errors: per clip, 1 - the true class's probability; per known cell."""
    truth = problem.targets
    if truth.ndim == 1:
        errors = 1 - problem.tables[:, np.arange(len(truth)), truth]  # (M, N)
    else:
        errors = np.abs(problem.tables - truth)[:, truth != UNKNOWN]
    centred = errors - errors.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit = centred / np.where(spread > 0, spread, 1)
    return pd.DataFrame(unit @ unit.T, index=list(problem.names), columns=list(problem.names))


def _mean_others(matrix: np.ndarray) -> np.ndarray:
    count = len(matrix)
    return (matrix.sum(axis=1) - 1) / (count - 1) if count > 1 else np.full(1, np.nan)
