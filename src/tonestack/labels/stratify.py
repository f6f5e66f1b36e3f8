"""Stratification of multi-label clips: each label is spread evenly over the folds.

Clips by themselves: Sechidis, Tsoumakas & Vlahavas, On the stratification of multi-label data, 2011. The rarest label
that is left goes first, clip by clip into the fold that lacks it most, because later there would be no clips to even it
out. Groups of several clips bring many labels at once, so they are placed by all labels together, the largest first:
each goes where the labels' relative squared distances from even shares grow least.
"""

import numpy as np


def assign(labels: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Fold of each clip (N,); clips of one group stay together.

    labels: (N, L) bool, spread evenly over the folds. groups: (N,), a name for each clip's group. Raises
    `ValueError` where there are fewer groups than folds.
    """
    unit = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(unit)
    if len(sizes) < n_folds:
        raise ValueError(f"{len(sizes)} groups cannot be put into {n_folds} folds")
    counts = np.zeros((len(sizes), labels.shape[1]))
    np.add.at(counts, unit, labels)
    place = _alone if sizes.max() == 1 else _groups
    return place(counts, sizes, n_folds, np.random.default_rng(seed))[unit]


def _groups(counts: np.ndarray, sizes: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each group (U,) of `sizes` clips, of which counts (U, L) have each label."""
    own = np.column_stack([counts, sizes])
    own = own[:, own.any(axis=0)] / own.sum(axis=0)[own.any(axis=0)] * n_folds  # in shares of a fold
    lack = np.ones((n_folds, own.shape[1]))
    fold = np.full(len(sizes), -1)
    order = rng.permutation(len(sizes))
    for unit in order[np.argsort(-np.square(own[order]).sum(axis=1), kind="stable")]:
        growth = np.square(lack - own[unit]).sum(axis=1) - np.square(lack).sum(axis=1)
        best = int(np.lexsort((rng.random(n_folds), growth.round(9)))[0])
        fold[unit] = best
        lack[best] -= own[unit]
    return fold


def _alone(counts: np.ndarray, sizes: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each clip (U,); the labels are those of counts (U, L)."""
    wanted = np.tile(counts.sum(axis=0)[:, None] / n_folds, n_folds)  # (L, K) clips that each fold still lacks
    room = np.full(n_folds, sizes.sum() / n_folds)
    fold = np.full(len(sizes), -1)
    order = rng.permutation(len(sizes))
    while len(order):
        left = counts[order].sum(axis=0)
        label = int(np.where(left > 0, left, np.inf).argmin()) if left.any() else None
        asked = order if label is None else order[counts[order, label] > 0]
        weight = sizes if label is None else counts[:, label]
        for unit in asked[np.argsort(-weight[asked], kind="stable")]:
            lack = room if label is None else wanted[label]
            best = np.lexsort((rng.random(n_folds), room, lack))[-1]
            fold[unit] = best
            wanted[:, best] -= counts[unit]
            room[best] -= sizes[unit]
        order = order[fold[order] < 0]
    return fold
