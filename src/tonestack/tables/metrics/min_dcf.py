"""minDCF: the smallest detection cost over all thresholds, as defined by NIST and used for VoxCeleb1.

One trial in 100 is a target trial; a miss costs as much as a false acceptance. 1 is the cost of accepting nothing.
"""

from tonestack.tables.error_rates import error_rates

import numpy as np

GREATER_IS_BETTER = False
DEFAULT_K = None
TRUTH = ("trials",)
P_SAME = 0.01


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """minDCF of trial scores (N, 1) and targets (N,) of 0/1; NaN if either kind is missing."""
    false_acceptance, miss = error_rates(scores, targets)
    cost = P_SAME * miss + (1 - P_SAME) * false_acceptance
    return float(cost.min() / P_SAME)
