"""Pooled AUC: area under one ROC curve over all pairs of a clip and a class (MLSP 2013 birds).

A clip without any class and a class without any clip count as so many negative pairs.
"""

from tonestack.tables.metrics import auc, indicator, known

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """AUC of the N x C pairs, ties counted half; NaN if all are positive or all negative."""
    positive, counted = indicator(targets, scores.shape[1]), known(targets, scores.shape[1])
    return auc.overall(scores[counted][:, None], positive[counted][:, None])
