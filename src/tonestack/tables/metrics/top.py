"""Top-k accuracy: the share of clips whose true class is among the k best."""

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = 5
TRUTH = ("one label per clip",)


def of_rank(rank: np.ndarray, k: int) -> np.ndarray:
    """1 where the true class ranks among the k best."""
    return (rank <= k).astype(np.float64)
