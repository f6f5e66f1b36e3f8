"""Logistic regression upon the pool of the tables: the bar that gradient boosting has to beat.

Multinomial where a clip has one label, one regression a class where it may have several.
"""

import numpy as np
from scipy.optimize import minimize

from tonestack.ensemble.stackers import Fitted, Inputs, Rows, StackParams, inner_split, pool, pooled, probabilities

STEPS = 5  # penalties tried, each a tenth of the one before
ITERATIONS = 25  # of L-BFGS for each penalty, started where the last one ended


def fit(rows: Rows, params: StackParams, seed: int) -> Fitted:
    """Choose the penalty on an inner split, then fit all rows with it."""
    penalties = [params.l2_logistic * 0.1**step for step in range(STEPS)]
    learn, stop = inner_split(rows, seed)
    trial, held = _Regression(rows.where(learn)), rows.where(stop)
    losses = [trial.loss(held)]  # of the pool alone
    for penalty in penalties:
        trial.fit(penalty)
        losses.append(trial.loss(held))
        if losses[-1] > min(losses) + 1e-4:
            break
    final = _Regression(rows)
    for penalty in penalties[: int(np.argmin(losses))]:
        final.fit(penalty)
    return final


class _Regression:
    """logits = pool + columns W + bias; the penalty pulls W and bias to zero, hence the answer to the pool."""

    def __init__(self, rows: Rows) -> None:
        self.pool = pool(rows)
        columns = np.nan_to_num(rows.inputs.columns)
        self.mean, self.scale = columns.mean(axis=0), columns.std(axis=0) + np.float32(1e-3)
        self.x, self.base = self._columns(rows.inputs), pooled(self.pool, rows.inputs)
        self.rows, self.truth = rows, rows.truth
        self.weights = (rows.weights / rows.weights.sum()).astype(np.float32)[:, None]
        self.free = np.zeros((self.x.shape[1], rows.classes), dtype=np.float32)

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return probabilities(pooled(self.pool, inputs) + self._columns(inputs) @ self.free, inputs.independent)

    def loss(self, rows: Rows) -> float:
        return float(rows.losses(self(rows.inputs)).mean())

    def fit(self, penalty: float) -> None:
        """Minimise the weighted log loss plus penalty times the sum of squares; goes on from the last fit."""

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            free = flat.reshape(self.free.shape).astype(np.float32)
            q = probabilities(self.base + self.x @ free, self.rows.inputs.independent)
            loss = float((self.weights[:, 0] * self.rows.losses(q)).sum())
            slope = self.x.T @ (self.weights * (q - self.truth)) + 2 * np.float32(penalty) * free
            return loss + penalty * float((free**2).sum()), slope.ravel().astype(np.float64)

        found = minimize(objective, self.free.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
        self.free = found.x.reshape(self.free.shape).astype(np.float32)

    def _columns(self, inputs: Inputs) -> np.ndarray:
        """Standardised columns and a one (R, F), divided by sqrt(F) so that a penalty means the same at any width."""
        x = (np.nan_to_num(inputs.columns) - self.mean) / self.scale
        return np.concatenate([x / np.sqrt(x.shape[1]), np.ones((len(x), 1))], axis=1, dtype=np.float32)
