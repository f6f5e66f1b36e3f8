"""Fusion of trial scores: a weighted sum and a bias, by logistic regression a log-likelihood ratio.

Scores have no common scale and no upper bound, so that their power means have no meaning (Brummer et al. 2007).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tonestack.ensemble.blends import joined

import numpy as np

STRENGTH = 1.0  # penalty on standardised weights, in trials; it matters only if the scores separate both kinds wholly


@dataclass(frozen=True)
class Fusion:
    """A fitted fusion: `fusion(tables)` gives the sum of `weights` x tables (N, 1) plus `bias`."""

    weights: np.ndarray
    bias: float = 0.0
    power: float = 1.0

    def __call__(self, tables: Iterable[np.ndarray]) -> np.ndarray:
        """Fuse M tables (N, 1), taken one at a time; their order is that of the weights."""
        return joined(self, tables)

    def summand(self, m: int, table: np.ndarray) -> np.ndarray:
        """Return the term of table m."""
        return table * np.float32(self.weights[m])

    def mean(self, total: np.ndarray) -> np.ndarray:
        """The fused scores from the sum over all tables."""
        return total + np.float32(self.bias)


def fitted(tables: np.ndarray, same: np.ndarray) -> Fusion:
    """Fit scores (M, N, 1) to targets (N,) of 0/1, both kinds with equal weight: natural-log likelihood ratios."""
    from sklearn.linear_model import LogisticRegression

    x = tables[..., 0].T.astype(np.float64)  # (N, M)
    centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    found = LogisticRegression(C=1 / STRENGTH, class_weight="balanced", max_iter=1000).fit((x - centre) / spread, same)
    weights = found.coef_[0] / spread
    return Fusion(weights, float(found.intercept_[0] - weights @ centre))
