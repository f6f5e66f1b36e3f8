"""minDCF: the least detection cost over all thresholds, as NIST and VoxCeleb1 count it.

One trial in a hundred is of one speaker, a miss costs as much as a false acceptance; 1 is what accepting nothing costs.
"""

from tonestack.tables.metrics._trials import error_rates

import numpy as np

GREATER_IS_BETTER = False
DEFAULT_K = None
P_SAME = 0.01


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """minDCF of trial scores (N, 1) and targets (N,) of 0/1; NaN if either kind is missing."""
    false_acceptance, miss = error_rates(scores, targets)
    cost = P_SAME * miss + (1 - P_SAME) * false_acceptance
    return float(cost.min() / P_SAME)
