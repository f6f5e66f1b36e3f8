"""Near-duplicates: the same recording again, cut, louder, coded or resampled differently.

Candidates are each clip's nearest neighbours by statistics that do not change with loudness; a candidate counts if
the two spectrograms, shifted along time to where they fit best, rise and fall together.
"""

import numpy as np
import scipy.fft

from tonestack import statistics
from tonestack.store import Store

STEADY = ("shape", "shape deviation", "cepstrum deviation", "cepstrum change")  # statistics that gain leaves alone
DIMENSIONS = 48  # principal components of them
LONGEST = 10.0  # seconds of a clip that are compared
LEAST_SECONDS, LEAST_SHARE = 0.25, 0.5  # two clips must overlap by so much, and by this share of the shorter one
RANGE = 60.0  # dB under a clip's loudest frame and band; what is fainter depends on the codec
BLOCK = 1024  # clips whose neighbours are looked for at once


def find(store: Store, clip_ids: list[str], table: np.ndarray, neighbours: int, similar: float) -> list["Pair"]:
    """Pairs (i, j, similarity, seconds) of clips, i < j, that are the same recording; best first.

    table (N, S): the clips' statistics. seconds: how much later clip j begins in what they share.
    """
    there = np.flatnonzero(np.isfinite(table).all(axis=1))
    candidates = {
        tuple(sorted((int(there[a]), int(there[b]))))
        for a, b in _neighbours(_whitened(table[there], store.width), neighbours)
    }
    offsets, frames = store.rows(clip_ids)
    most = max(1, round(LONGEST * store.frame_rate))
    least = max(2, round(LEAST_SECONDS * store.frame_rate))

    def fluctuation(i: int) -> np.ndarray:
        return fluctuations(np.asarray(store.features[offsets[i] : offsets[i] + min(frames[i], most)], np.float32))

    pairs = []
    for i, j in sorted(candidates):
        value, lag = best_match(fluctuation(i), fluctuation(j), least)
        if value >= similar:
            pairs.append((i, j, value, lag / store.frame_rate))
    return sorted(pairs, key=lambda pair: -pair[2])


Pair = tuple[int, int, float, float]


def fluctuations(x: np.ndarray) -> np.ndarray:
    """A dB spectrogram (T, F) less every band's and every frame's mean: neither loudness nor colour is left."""
    x = np.maximum(x, x.max() - RANGE)
    x = x - x.mean(axis=0)
    return x - x.mean(axis=1, keepdims=True)


def best_match(a: np.ndarray, b: np.ndarray, least: int) -> tuple[float, int]:
    """Highest correlation of two spectrograms (T, F) over their lags, and that lag: frame t + lag of a is frame t of b.

    Only lags are tried at which they overlap by at least `least` frames and by LEAST_SHARE of the shorter one.
    """
    size = scipy.fft.next_fast_len(len(a) + len(b), real=True)
    cross = scipy.fft.irfft(
        (scipy.fft.rfft(a, size, axis=0) * scipy.fft.rfft(b, size, axis=0).conj()).sum(axis=1), size
    )
    lags = np.arange(-len(b) + 1, len(a))
    first, last = np.maximum(lags, 0), np.minimum(len(a), len(b) + lags)  # of a, what overlaps
    energy = (_sums(a)[last] - _sums(a)[first]) * (_sums(b)[last - lags] - _sums(b)[first - lags])
    enough = last - first >= max(least, LEAST_SHARE * min(len(a), len(b)))
    values = np.where(enough & (energy > 1e-6), cross[lags] / np.sqrt(np.maximum(energy, 1e-6)), -1.0)
    best = int(values.argmax())
    return float(values[best]), int(lags[best])


def _sums(x: np.ndarray) -> np.ndarray:
    """Energy (T + 1,) of the frames before each."""
    return np.concatenate([[0.0], np.cumsum(np.square(x, dtype=np.float64).sum(axis=1))])


def _whitened(table: np.ndarray, bands: int) -> np.ndarray:
    """Unit vectors (N, D) of the steady statistics, all directions of equal weight."""
    columns = [i for i, (name, _) in enumerate(statistics.names(bands)) if name in STEADY]
    rows = table[:, columns].astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    values, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    keep = np.argsort(-values)[: min(DIMENSIONS, len(rows))]
    rows = rows @ axes[:, keep] / np.sqrt(np.maximum(values[keep], 1e-3))
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _neighbours(rows: np.ndarray, count: int) -> list[tuple[int, int]]:
    """The `count` nearest of each of the unit vectors (N, D)."""
    found: list[tuple[int, int]] = []
    count = min(count, len(rows) - 1)
    for start in range(0, len(rows), BLOCK):
        near = rows[start : start + BLOCK] @ rows.T
        own = np.arange(len(near))
        near[own, start + own] = -2.0
        best = np.argpartition(-near, count - 1, axis=1)[:, :count] if count else np.zeros((len(near), 0), int)
        found += [(start + i, int(j)) for i in own for j in best[i]]
    return found
