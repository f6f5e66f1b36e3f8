"""Patches of spectrograms learnt without labels, and a clip's pooled responses to them.

Patches are normalised, whitened and clustered by spherical k-means (Coates and Ng 2012; of sounds: Salamon and Bello
2015, "Unsupervised feature learning for urban sound classification"). A response is the product of a whitened patch of
the clip with a centre, less a threshold, where that is positive. Responses are pooled over time at every height,
because the same shape is another sound elsewhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tonestack.features.store import Store

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

CONTRAST = 10.0  # added to a patch's variance, dB²: the noise of a quiet patch is not raised to a shape
WHITENING = 0.7  # added to the eigenvalues of normalised patches, which average 1: less follows single bands of noise
CHUNK = 256  # places along time at once: memory does not grow with a clip's length


@dataclass(frozen=True)
class Patches:
    """filters: (K, H, W) float32, centres with the whitening folded in. bias: (K,), responses to the mean patch."""

    filters: Tensor
    bias: Tensor

    def responses(self, x: np.ndarray, params: Any) -> Tensor:
        """Pooled responses (3 K B,) of one clip x (T, F) at B heights: mean, deviation and maximum, their square roots.

        `params`: the settings of `networks/models/patch_kernel.py`.
        """
        bands, frames = self.filters.shape[1:]
        step = (params.band_step, params.frame_step)
        weights = self.filters[:, None]
        totals = weights.sum((1, 2, 3))[:, None, None]
        total, squares, most, places = torch.zeros(()), torch.zeros(()), torch.zeros(()), 0
        for start in range(0, len(x) - frames + 1, CHUNK * step[1]):
            chunk = x[start : start + (CHUNK - 1) * step[1] + frames]
            image = torch.from_numpy(np.ascontiguousarray(chunk.T))[None, None]
            mean = functional.avg_pool2d(image, (bands, frames), step)[0]
            variance = functional.avg_pool2d(image * image, (bands, frames), step)[0] - mean * mean
            raw = functional.conv2d(image, weights, stride=step)[0] - totals * mean
            raw = raw / (variance.clamp(min=0) + CONTRAST).sqrt() - self.bias[:, None, None]
            found = (raw - params.threshold).clamp(min=0)  # (K, B, places)
            total, squares = total + found.sum(2), squares + (found * found).sum(2)
            most, places = torch.maximum(most, found.amax(2)), places + found.shape[2]
        mean = total / places
        deviation = (squares / places - mean * mean).clamp(min=0).sqrt()
        return torch.cat([mean.flatten(), deviation.flatten(), most.flatten()]).sqrt()


def clips(store: Store, clip_ids: Iterable[str], params: Any) -> Iterator[np.ndarray]:
    """Spectrograms (T, F) of clips that have audio, float32, from `range_db` below their maximum."""
    offsets, frames = store.rows(clip_ids)
    for first, n in zip(offsets, frames, strict=True):
        if n:
            x = np.asarray(store.features[first : first + n], np.float32)
            yield np.maximum(x, x.max() - params.range_db)


def long_enough(x: np.ndarray, params: Any) -> np.ndarray:
    """Spectrogram x (T, F), repeated where it is shorter than a patch."""
    least = params.frames + params.frame_step
    return x if len(x) >= least else np.resize(x, (least, x.shape[1]))


def played(x: np.ndarray, speed: float, centres: np.ndarray | None) -> np.ndarray:
    """Spectrogram x (T, F) as playing at `speed` changes it: length, and bands of known centres (F,) in Hz.

    A value lies between two frames and two bands. Beyond both ends the last band is repeated.
    """
    if speed == 1:
        return x
    x = _between(x, np.linspace(0, len(x) - 1, max(1, round(len(x) / speed))))
    if centres is None:
        return x
    return np.ascontiguousarray(_between(x.T, np.interp(centres / speed, centres, np.arange(len(centres)))).T)


def _between(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of x (N, M) at fractional places, float32."""
    below = np.floor(places).astype(int)
    above, share = np.minimum(below + 1, len(x) - 1), (places - below).astype(np.float32)[:, None]
    return x[below] * (1 - share) + x[above] * share


def learn(store: Store, clip_ids: list[str], params: Any, seed: int) -> Patches:
    """Learn patches from as many places of every clip; nothing of the labels is read."""
    drawn = np.random.default_rng(seed)
    height = min(params.bands, store.width)
    each = -(-params.samples // len(clip_ids))
    pieces = []
    for x in clips(store, clip_ids, params):
        views = np.lib.stride_tricks.sliding_window_view(long_enough(x, params), (params.frames, height))
        at = [drawn.integers(0, end, each) for end in views.shape[:2]]  # of (places, heights, W, H)
        pieces.append(views[at[0], at[1]].swapaxes(1, 2).reshape(each, -1))
    sample = np.concatenate(pieces).astype(np.float64)
    sample -= sample.mean(axis=1, keepdims=True)
    sample /= np.sqrt(sample.var(axis=1, keepdims=True) + CONTRAST)
    with threadpool_limits(1):  # sums in the same order on every run
        mean = sample.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(sample.T))
        whiten = vectors / np.sqrt(np.maximum(values, 0) + WHITENING) @ vectors.T
        white = ((sample - mean) @ whiten).astype(np.float32)
        white /= np.linalg.norm(white, axis=1, keepdims=True) + 1e-9
        k = min(params.patches, len(white))
        found = KMeans(k, init="random", n_init=1, max_iter=params.rounds, random_state=seed % 2**32).fit(white)
        centres = found.cluster_centers_ / (np.linalg.norm(found.cluster_centers_, axis=1, keepdims=True) + 1e-9)
        filters = centres @ whiten
    shaped = filters.reshape(k, height, params.frames).astype(np.float32)
    return Patches(torch.from_numpy(shaped), torch.from_numpy((filters @ mean).astype(np.float32)))
