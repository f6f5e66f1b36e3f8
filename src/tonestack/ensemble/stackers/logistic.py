"""Logistic regression upon the pool of the tables: the bar that gradient boosting has to beat.

Multinomial if a clip has one label, one regression per class if it may have several.
"""

from dataclasses import asdict, dataclass, replace

from tonestack.ensemble.stack_inputs import (
    FittedStacker,
    StackInputs,
    StackRows,
    inner_split,
    pool,
    pooled,
    probabilities,
)
from tonestack.settings.data_config import StackParams

import numpy as np
from scipy.optimize import minimize

STEPS = 5  # penalties tried, each a tenth of the one before
ITERATIONS = 25  # of L-BFGS for each penalty, started where the last one ended


def fit(rows: StackRows, params: StackParams, seed: int) -> FittedStacker:
    """Choose the penalty on an inner split, then fit all rows with it."""
    penalties = [params.l2_logistic * 0.1**step for step in range(STEPS)]
    learn, stop = inner_split(rows, seed)
    trial, held = _Fit(rows.where(learn)), rows.where(stop)
    losses = [_loss(trial.regression, held)]  # of the pool alone
    for penalty in penalties:
        trial.fit(penalty)
        losses.append(_loss(trial.regression, held))
        if losses[-1] > min(losses) + 1e-4:
            break
    final = _Fit(rows)
    for penalty in penalties[: int(np.argmin(losses))]:
        final.fit(penalty)
    return final.regression


@dataclass(frozen=True)
class Regression:
    """logits = pool + columns W + bias; pool (M,), mean and scale of the columns (F,), free: W over bias (F + 1, C)."""

    pool: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    free: np.ndarray

    def __call__(self, inputs: StackInputs) -> np.ndarray:
        return probabilities(pooled(self.pool, inputs) + self.columns(inputs) @ self.free, inputs.independent)

    def columns(self, inputs: StackInputs) -> np.ndarray:
        """Standardised columns and a one (R, F + 1), divided by sqrt(F): a penalty means the same at any width."""
        x = (np.nan_to_num(inputs.columns) - self.mean) / self.scale
        return np.concatenate([x / np.sqrt(x.shape[1]), np.ones((len(x), 1))], axis=1, dtype=np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all fields."""
        return asdict(self)


def restore(arrays: dict[str, np.ndarray]) -> Regression:
    """Undo `Regression.arrays`."""
    return Regression(**arrays)


def _loss(regression: Regression, rows: StackRows) -> float:
    return float(rows.losses(regression(rows.inputs)).mean())


class _Fit:
    """A regression while it is fitted; the penalty pulls W and bias to zero, hence the output to the pool."""

    def __init__(self, rows: StackRows) -> None:
        columns = np.nan_to_num(rows.inputs.columns)
        mean, scale = columns.mean(axis=0), columns.std(axis=0) + np.float32(1e-3)
        free = np.zeros((columns.shape[1] + 1, rows.classes), dtype=np.float32)
        self.regression = Regression(pool(rows), mean, scale, free)
        self.x, self.base = self.regression.columns(rows.inputs), pooled(self.regression.pool, rows.inputs)
        self.rows = rows
        self.weights = (rows.weights / rows.weights.sum()).astype(np.float32)[:, None]

    def fit(self, penalty: float) -> None:
        """Minimise the weighted log loss plus penalty times the sum of squares; starts from the last fit."""

        start = self.regression.free

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            free = flat.reshape(start.shape).astype(np.float32)
            q = probabilities(self.base + self.x @ free, self.rows.inputs.independent)
            loss = float((self.weights[:, 0] * self.rows.losses(q)).sum())
            slope = self.x.T @ (self.weights * self.rows.errors(q)) + 2 * np.float32(penalty) * free
            return loss + penalty * float((free**2).sum()), slope.ravel().astype(np.float64)

        found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
        self.regression = replace(self.regression, free=found.x.reshape(start.shape).astype(np.float32))
