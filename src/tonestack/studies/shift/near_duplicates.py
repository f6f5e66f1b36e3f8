"""Near-duplicates: the same recording twice, cut, louder, coded or resampled differently.

Candidates are each clip's nearest neighbours by statistics that change little with loudness, length and coding. A
candidate counts if the changes of the two spectrograms correlate at the best time shift.

Measured on 1,645 real clips and 60 of them changed (twelve each: a fifth as loud, the first third cut, Vorbis at half
the rate, noise 34 dB under the peak, silence put before): with five neighbours and a correlation of 0.9, 11, 5, 9, 10
and 10 of them are found, and two other pairs; 3,000 random pairs of different clips stay under 0.73.
"""

from typing import NamedTuple

from tonestack.features import clip_statistics
from tonestack.features.store import Store

import numpy as np
import scipy.fft

VIEWS = (("shape",), ("cepstrum deviation", "cepstrum change", "modulation"))  # statistics that neighbours share
DIMENSIONS = 48  # principal components of each view
LONGEST = 10.0  # seconds of a clip that are compared
LEAST, SHARE = 0.25, 0.5  # two clips must overlap by so many seconds, and by this share of the shorter one
SURE = 1.0  # seconds of overlap below which a higher correlation is asked for
RANGE = 40.0  # dB under a clip's loudest frame and band; what is fainter depends on noise and codec
STEP = 2  # frames between the two whose difference is taken


class Pair(NamedTuple):
    """Clips i < j that are the same recording: their correlation, and how many seconds later clip j begins."""

    i: int
    j: int
    similarity: float
    later: float


class Match(NamedTuple):
    """The best fit of two spectrograms: frame t + lag of the first on frame t of the second."""

    value: float
    lag: int
    overlap: int


def find(store: Store, clip_ids: list[str], table: np.ndarray, neighbours: int, similar: float) -> list[Pair]:
    """Return the near-duplicates among clips with statistics (N, S), best first."""
    there = np.flatnonzero(np.isfinite(table).all(axis=1))
    near = [pair for view in VIEWS for pair in _neighbours(_whitened(table[there], store.width, view), neighbours)]
    candidates = {tuple(sorted((int(there[a]), int(there[b])))) for a, b in near}
    offsets, frames = store.rows(clip_ids)
    most, rate = max(1, round(LONGEST * store.frame_rate)), store.frame_rate

    def changes_of(i: int) -> np.ndarray:
        return changes(np.asarray(store.features[offsets[i] : offsets[i] + min(frames[i], most)], np.float32))

    pairs = []
    for i, j in sorted(candidates):
        match = best_match(changes_of(i), changes_of(j), max(1, round(LEAST * rate)))
        if match.value >= 1 - (1 - similar) * min(1.0, match.overlap / rate / SURE):
            pairs.append(Pair(i, j, match.value, match.lag / rate))
    return sorted(pairs, key=lambda pair: -pair.similarity)


def changes(x: np.ndarray) -> np.ndarray:
    """Return the changes of a dB spectrogram (T, F) over STEP frames, less their mean over the bands."""
    x = np.maximum(x, x.max() - RANGE)
    x = x[STEP:] - x[:-STEP]
    return x - x.mean(axis=1, keepdims=True)


def best_match(a: np.ndarray, b: np.ndarray, least: int) -> Match:
    """Correlate (T, F) and (T', F) at all lags of enough overlap (`least` frames, SHARE); return the best match."""
    if min(len(a), len(b)) < least:
        return Match(-1.0, 0, 0)
    size = scipy.fft.next_fast_len(len(a) + len(b), real=True)
    spectra = scipy.fft.rfft(a, size, axis=0) * scipy.fft.rfft(b, size, axis=0).conj()
    cross = scipy.fft.irfft(spectra.sum(axis=1), size)
    lags = np.arange(-len(b) + 1, len(a))
    first, last = np.maximum(lags, 0), np.minimum(len(a), len(b) + lags)  # of a, what overlaps
    in_a, in_b = _sums(a), _sums(b)
    energy = (in_a[last] - in_a[first]) * (in_b[last - lags] - in_b[first - lags])
    enough = (last - first >= max(least, SHARE * min(len(a), len(b)))) & (energy > 1e-6)
    values = np.where(enough, cross[lags] / np.sqrt(np.maximum(energy, 1e-6)), -1.0)
    best = int(values.argmax())
    return Match(float(values[best]), int(lags[best]), int((last - first)[best]))


def _sums(x: np.ndarray) -> np.ndarray:
    """Return the energy (T + 1,) of all frames before each."""
    return np.concatenate([[0.0], np.cumsum(np.square(x, dtype=np.float64).sum(axis=1))])


def _whitened(table: np.ndarray, bands: int, view: tuple[str, ...]) -> np.ndarray:
    """Return unit vectors (N, D) of some of the statistics, whitened."""
    columns = [i for i, (name, _) in enumerate(clip_statistics.names(bands)) if name in view]
    rows = table[:, columns].astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    values, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    keep = np.argsort(-values)[: min(DIMENSIONS, max(1, len(rows) // 4))]
    rows = rows @ axes[:, keep] / np.sqrt(np.maximum(values[keep], 1e-3))
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _neighbours(rows: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Return the `count` nearest neighbours of each of the unit vectors (N, D)."""
    found: list[tuple[int, int]] = []
    count = min(count, len(rows) - 1)
    for block in np.array_split(np.arange(len(rows)), len(rows) // 1024 + 1):
        near = rows[block] @ rows.T
        near[np.arange(len(block)), block] = -2.0  # itself
        best = np.argpartition(-near, count - 1, axis=1)[:, :count] if count else near[:, :0]
        found += [(int(i), int(j)) for i, row in zip(block, best, strict=True) for j in row]
    return found
