"""Binary AUC: area under the ROC curve of one column, the score of the positive class (ICML 2013 whale).

Of several labels there is one class, and a clip without it is a negative.
"""

from tonestack.base.errors import UserError
from tonestack.tables.metrics import KINDS, auc

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
TRUTH = KINDS


def overall(scores: np.ndarray, targets: np.ndarray) -> float:
    """AUC of scores (N, 1), or (N, 2) whose second class is the positive one; NaN if all clips are of one kind."""
    columns = scores.shape[1]
    if columns > (2 if targets.ndim == 1 else 1):
        raise UserError(f"metric 'binary_auc' needs two classes or one column of scores, not {columns}; use auc")
    return auc.overall(scores[:, -1:], targets.reshape(-1, 1))
