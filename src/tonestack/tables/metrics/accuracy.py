"""Accuracy: the share of clips whose best class is the true one."""

import numpy as np

GREATER_IS_BETTER = True
DEFAULT_K = None
TRUTH = ("one label per clip",)


def of_rank(rank: np.ndarray, k: int) -> np.ndarray:
    """1 where the true class ranks first."""
    return (rank == 1).astype(np.float64)
