"""Error rates at every threshold, for the verification metrics."""

import numpy as np


def error_rates(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False acceptance and miss rates (P,), from accepting nothing to accepting everything.

    scores: (N,) or (N, 1); same: (N,) 1 where a trial is of one speaker. Equal scores pass a threshold together. Both
    are NaN where either kind of trial is missing.
    """
    scores, same = np.ravel(scores), np.ravel(same) > 0
    if same.all() or not same.any():
        return np.full(1, np.nan), np.full(1, np.nan)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of every run of equal scores
    accepted = np.cumsum(same[order])[last]
    mistaken = np.cumsum(~same[order])[last]
    false_acceptance = np.append(0, mistaken) / (~same).sum()
    miss = 1 - np.append(0, accepted) / same.sum()
    return false_acceptance, miss
