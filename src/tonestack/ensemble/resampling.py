"""Bootstrap resamples of scored rows: clip by clip, or by whole groups where clips belong together.

Errors on clips of one group (a source recording, speaker or session) are alike, so intervals that count every clip as
new are too narrow. A trial has a speaker on both sides: speakers are drawn, and a trial of two speakers counts as often
as the product of their numbers, a trial of one speaker as often as that speaker (Snijders & Borgatti 1999).
"""

from collections.abc import Iterator

from tonestack.tables.metrics import mean

import numpy as np

BLOCK = 1 << 22  # counts of groups drawn at once
ONE_FOLD = (
    "all verified clips lie in one fold, so nothing can be fitted without it and scored on it; make folds in which "
    "they are spread (smaller groups, another group column, or more verified clips)"
)


def rows(count: int, resamples: int, groups: np.ndarray | None = None, size: float = 1.0) -> Iterator[np.ndarray]:
    """Yield row indices of every resample of `count` rows; groups: (count,), or (count, 2) for both sides of trials.

    size: of a resample, as a share of the rows or of the groups; below 1 it is an m out of n bootstrap (Bickel, Götze &
    van Zwet 1997), whose deviations are too large by 1 / sqrt(size).
    """
    rng = np.random.default_rng(0)
    if groups is None:
        for _ in range(resamples):
            yield rng.integers(count, size=max(1, round(size * count)))
        return
    code, known = _codes(groups)
    for _ in range(resamples):
        drawn = rng.multinomial(max(1, round(size * known)), np.full(known, 1 / known))
        yield np.repeat(np.arange(count), _times(code, drawn))


def means(
    values: np.ndarray, resamples: int, weights: np.ndarray | None = None, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the means (B,) of resampled values (N,) by their weights (N,).

    Without groups and with few distinct values, their counts are drawn, not the clips.
    """
    if groups is not None:
        return _means_of_groups(values, resamples, np.ones(len(values)) if weights is None else weights, groups)
    if weights is not None:
        return np.array([float(mean(values[i], weights[i])) for i in rows(len(values), resamples)])
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) > 1000:
        return np.array([values[i].mean() for i in rows(len(values), resamples)])
    drawn = np.random.default_rng(0).multinomial(len(values), counts / len(values), size=resamples)
    return np.asarray(drawn @ distinct / len(values))


def _means_of_groups(values: np.ndarray, resamples: int, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    if groups.ndim == 2:
        return np.array([float(mean(values[i], weights[i])) for i in rows(len(values), resamples, groups)])
    code, known = _codes(groups)
    sums, shares = np.bincount(code, values * weights), np.bincount(code, weights)
    rng, step, found = np.random.default_rng(0), max(1, BLOCK // known), []
    for start in range(0, resamples, step):
        drawn = rng.multinomial(known, np.full(known, 1 / known), size=min(step, resamples - start))
        total = drawn @ shares
        found.append(np.where(total > 0, drawn @ sums / np.where(total > 0, total, 1), np.nan))
    return np.concatenate(found)


def standard_error(values: np.ndarray, weights: np.ndarray | None = None, groups: np.ndarray | None = None) -> float:
    """Return the standard error of the mean of values (N,), by the formula: whole groups count as one draw."""
    share = np.ones(len(values)) if weights is None else weights
    apart = share * (values - mean(values, weights))
    if groups is not None and groups.ndim == 1:
        apart = np.bincount(_codes(groups)[0], apart)
    return float(np.linalg.norm(apart) / max(share.sum(), 1))


def _codes(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Groups of any shape as whole numbers from 0, and how many there are."""
    names, code = np.unique(groups, return_inverse=True)
    return code.reshape(groups.shape), len(names)


def _times(code: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return how often each row counts if group g was drawn drawn[g] times."""
    if code.ndim == 1:
        return np.asarray(drawn[code])
    one, two = code.T
    return np.where(one == two, drawn[one], drawn[one] * drawn[two])


def parts(fold: np.ndarray, groups: np.ndarray | None, count: int) -> np.ndarray:
    """Return `count` random parts (N,) of about the same size, of whole groups where they are known; fixed.

    Rows of fold -1 are in part -1. Trials are kept together by their first side alone: most pairs of speakers would
    otherwise be one part. Where fewer than two groups are known, clips are drawn.
    """
    code, known = _codes(_first_side(groups)[fold >= 0]) if groups is not None else (fold, 0)
    if known < 2:
        return np.where(fold >= 0, np.random.default_rng(0).permutation(len(fold)) % count, -1)
    size, rng = np.bincount(code), np.random.default_rng(0)
    room, part = np.zeros(count), np.zeros(known, dtype=int)
    for group in sorted(rng.permutation(known), key=lambda g: -size[g]):  # the largest first, into the emptiest part
        part[group] = int(room.argmin())
        room[part[group]] += size[group]
    result = np.full(len(fold), -1)
    result[fold >= 0] = part[code]
    return result


def some(part: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of at most `most` random rows, as many of each part (N,) as its size asks for; fixed."""
    count = len(part)
    if count <= most:
        return np.arange(count)
    order = np.random.default_rng(0).permutation(count)
    by_part = order[np.argsort(part[order], kind="stable")]
    return np.sort(by_part[np.arange(most) * count // most])


def share(groups: np.ndarray, seed: int, part: float = 0.2) -> np.ndarray:
    """Return a mask (N,) of random whole groups that hold about `part` of the rows, never none of them."""
    code, known = _codes(_first_side(groups))
    order = np.random.default_rng(seed).permutation(known)
    filled = np.cumsum(np.bincount(code)[order]) / len(code)
    taken = max(1, int((filled <= part).sum()))
    if taken < known and filled[taken] - part < part - filled[taken - 1]:
        taken += 1  # the next group comes nearer to the share
    return np.isin(code, order[:taken])


def _first_side(groups: np.ndarray) -> np.ndarray:
    return groups if groups.ndim == 1 else groups[:, 0]
