"""EER: the error rate at which false acceptances and misses are equal, between thresholds by a straight line."""

from tonestack.tables.error_rates import error_rates

import numpy as np

GREATER_IS_BETTER = False
DEFAULT_K = None
TRUTH = ("trials",)


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """Equal error rate of trial scores (N, 1) and targets (N,) of 0/1; NaN if either kind is missing."""
    false_acceptance, miss = error_rates(scores, targets)
    if np.isnan(miss[0]):
        return float("nan")
    gap = false_acceptance - miss  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false_acceptance[after - 1] + share * (false_acceptance[after] - false_acceptance[after - 1]))
