"""One vector per clip: statistics of a dB spectrogram over time, for trees, stackers and label spreading."""

from typing import Literal

from tonestack.base import parts
from tonestack.features.store import Store

import numpy as np
from scipy.fft import dct

CEPSTRA = 24
ENVELOPE_BANDS = 16


def clip_statistics(x: np.ndarray) -> np.ndarray:
    """Statistics (S,) of one clip's dB spectrogram x (T, F).

    Per band: mean, standard deviation, 10th and 90th percentile, mean absolute difference in time, and mean
    and deviation of the spectral shape (each frame less its own mean) over the louder half of the frames;
    per cepstral coefficient (DCT along bands): mean, deviation, median and mean absolute difference; the
    modulation spectrum of the loudness envelope; length, and spread and peak of the loudness.
    """
    x = np.repeat(x, 3, axis=0) if len(x) < 3 else x
    loudness = x.mean(axis=1)  # (T,)
    loud = x[loudness >= np.median(loudness)]
    shape = loud - loud.mean(axis=1, keepdims=True)
    cepstra = dct(x, axis=1, norm="ortho")[:, :CEPSTRA]  # (T, CEPSTRA)
    envelope = np.abs(np.fft.rfft(loudness - loudness.mean(), 256))[:64] / np.sqrt(len(x))
    pieces = [
        *(x.mean(axis=0), x.std(axis=0), *np.percentile(x, [10, 90], axis=0), np.abs(np.diff(x, axis=0)).mean(axis=0)),
        *(shape.mean(axis=0), shape.std(axis=0)),
        *(cepstra.mean(axis=0), cepstra.std(axis=0), np.median(cepstra, axis=0)),
        np.abs(np.diff(cepstra, axis=0)).mean(axis=0),
        envelope.reshape(ENVELOPE_BANDS, -1).mean(axis=1),
        [len(x), loudness.std(), loudness.max()],
    ]
    return np.concatenate(pieces).astype(np.float32)


def track_statistics(x: np.ndarray) -> np.ndarray:
    """Statistics (S,) of one clip's tracks x (T, F): each column on its own.

    Mean, standard deviation, 10th, 50th and 90th percentile, mean absolute difference from one value to the next and
    correlation with it; then the length.
    """
    x = np.repeat(x, 3, axis=0) if len(x) < 3 else x
    centred, step = x - x.mean(axis=0), np.abs(np.diff(x, axis=0)).mean(axis=0)
    power = np.square(centred).mean(axis=0)
    memory = (centred[1:] * centred[:-1]).mean(axis=0) / np.maximum(power, 1e-12)
    percentiles = np.percentile(x, [10, 50, 90], axis=0)
    return np.concatenate([x.mean(axis=0), np.sqrt(power), *percentiles, step, memory, [len(x)]]).astype(np.float32)


def pooled(x: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and maximum (3 F,) over the windows of one clip's embeddings x (T, F)."""
    return np.concatenate([x.mean(axis=0), x.std(axis=0), x.max(axis=0)]).astype(np.float32)


def mean(x: np.ndarray) -> np.ndarray:
    """Mean (F,) over the windows of one clip's embeddings x (T, F)."""
    vector: np.ndarray = x.mean(axis=0)
    return vector


STATISTICS = {"spectrogram": clip_statistics, "tracks": track_statistics, "pooled": pooled, "mean": mean}
Kind = Literal["spectrogram", "tracks", "pooled", "mean"]


def kind_for(frontend: str) -> Kind:
    """The statistics that fit a frontend of this name."""
    kind: Kind = getattr(parts.find("frontends", frontend), "STATISTICS", "spectrogram")
    return kind


def names(bands: int) -> list[tuple[str, int]]:
    """Name and band or coefficient of each statistic (S,) of a spectrogram of so many bands."""
    by_band = ("mean", "deviation", "10th percentile", "90th percentile", "change", "shape", "shape deviation")
    by_cepstrum = ("cepstrum", "cepstrum deviation", "cepstrum median", "cepstrum change")
    return [
        *((name, band) for name in by_band for band in range(bands)),
        *((name, k) for name in by_cepstrum for k in range(min(CEPSTRA, bands))),
        *(("modulation", k) for k in range(ENVELOPE_BANDS)),
        *((name, 0) for name in ("length", "loudness deviation", "loudest frame")),
    ]


def table(store: Store, clip_ids: list[str], of: Kind = "spectrogram") -> np.ndarray:
    """Statistics (N, S) of the clips, NaN rows for those without audio."""
    offsets, frames = store.rows(clip_ids)
    rows = [
        STATISTICS[of](np.asarray(store.features[first : first + n], np.float32)) if n else None
        for first, n in zip(offsets, frames, strict=True)
    ]
    width = next((len(row) for row in rows if row is not None), 0)
    return np.stack([np.full(width, np.nan, np.float32) if row is None else row for row in rows])
