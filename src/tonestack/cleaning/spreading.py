"""Label spreading (Zhou et al. 2004) on a sparse nearest-neighbour graph, in memory linear in the clips."""

import numpy as np
from scipy.sparse import csr_array, diags_array
from sklearn.neighbors import NearestNeighbors


def knn_graph(x: np.ndarray, neighbours: int) -> csr_array:
    """Return the symmetric graph of x (n, D): the larger of both directions' weights exp(-d²/(s_i s_j)).

    s_i is the distance from clip i to its last neighbour, so that there is no width to choose (Zelnik-Manor & Perona
    2004). No clip is its own neighbour.
    """
    n = len(x)
    k = min(neighbours, n - 1)
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x.astype(np.float32))
    distance, index = found.kneighbors()  # (n, k), the clip itself left out; blocks of bounded size
    scale = np.maximum(distance[:, -1], 1e-9)
    weight = np.exp(-(distance**2) / (scale[:, None] * scale[index]))
    start = np.arange(0, n * k + 1, k)
    graph = csr_array((weight.ravel().astype(np.float32), index.ravel().astype(np.int32), start), shape=(n, n))
    return graph.maximum(graph.T).tocsr()


def normalised(graph: csr_array) -> csr_array:
    """Return D^-1/2 W D^-1/2; a clip without neighbours keeps a row of zeros."""
    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = diags_array(1 / np.sqrt(np.maximum(degree, 1e-12)))
    return csr_array(root @ graph @ root).astype(np.float32)


def spread(graph: csr_array, labels: np.ndarray, n_classes: int, alpha: float, tol: float, most: int) -> np.ndarray:
    """Spread labels (n,), -1 where unknown: F <- alpha S F + (1 - alpha) Y until F moves less than `tol` in all.

    Returns (n, C) float32 rows that sum to one; rows of zeros where no label arrives.
    """
    smooth = normalised(graph)
    start = np.zeros((len(labels), n_classes), np.float32)
    known = labels >= 0
    start[known, labels[known]] = 1
    now = start.copy()
    for _ in range(most):
        before = now
        now = alpha * (smooth @ now) + (1 - alpha) * start
        if np.abs(now - before).sum() < tol:
            break
    total = now.sum(axis=1, keepdims=True)
    return np.divide(now, total, out=np.zeros_like(now), where=total > 0)
