"""MAP@k for one true label per clip: 1 / rank, nothing beyond k (Kaggle's MAP@3 with k = 3)."""

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = 3
TRUTH = ("one label per clip",)


def of_rank(rank: np.ndarray, k: int) -> np.ndarray:
    """Average precision of each clip from the rank of its true class."""
    return np.where(rank <= k, 1.0 / rank, 0.0)
