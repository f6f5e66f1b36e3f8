"""Principal components of the clips' spectrogram statistics: extra columns of a stacker, if features are prepared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, write_array
from tonestack.config.call import Call
from tonestack.features import clip_statistics
from tonestack.features.store import Store

import numpy as np

DIMENSIONS = 24  # principal components kept of the statistics


class PreparedSpectrogram(NamedTuple):
    """A prepared spectrogram and the frontend it comes from."""

    frontend: dict[str, Any]
    store: Store


def source_of(call: Call) -> PreparedSpectrogram | None:
    """Return the first prepared spectrogram or embedding of the call's models; None if nothing is prepared."""
    for experiment in call.experiments():
        spec = experiment.config.frontend
        if spec["name"] not in ("logmel", "embedding"):
            continue
        try:
            return PreparedSpectrogram(spec, Store.open(call.cache, spec, call.data.audio))
        except UserError:
            continue
    return None


@dataclass(frozen=True)
class ClipComponents:
    """Principal components of the clips' statistics: (N, D) of training and (M, D) of test clips, zeros without audio.

    projection: from statistics to components, see `fit`. frontend: the frontend of the measured spectrograms.
    """

    train: np.ndarray
    test: np.ndarray
    projection: np.ndarray
    frontend: dict[str, Any]


def read(call: Call, source: PreparedSpectrogram, train: list[str], test: list[str]) -> ClipComponents:
    """Return the components of all clips, fitted on all of them without labels."""
    table = measured(call.cache, source.store, train + test, clip_statistics.kind_for(source.frontend["name"]))
    projection = fit(table)
    rows = project(table, projection)
    return ClipComponents(rows[: len(train)], rows[len(train) :], projection, source.frontend)


def known(call: Call, clip_ids: list[str]) -> np.ndarray | None:
    """Return the components of clips (training, then test) from the cache of an earlier `read`; None without one."""
    source = source_of(call)
    path = _path(call.cache, source.store, clip_ids) if source else None
    if path is None or not path.is_file():
        return None
    table = np.load(path, allow_pickle=False)
    return project(table, fit(table))


def measured(cache: Path, store: Store, clip_ids: list[str], of: clip_statistics.Kind = "spectrogram") -> np.ndarray:
    """Return statistics (N, S) of clips, NaN rows without audio; they are cached."""
    path = _path(cache, store, clip_ids)
    if path.is_file():
        return np.load(path, allow_pickle=False)
    table = clip_statistics.table(store, clip_ids, of)
    write_array(path, table)
    return table


def _path(cache: Path, store: Store, clip_ids: list[str]) -> Path:
    return cache / "stages" / f"clip-statistics-{fingerprint([store.fingerprint, clip_ids])}.npy"


def fit(table: np.ndarray) -> np.ndarray:
    """Return the projection (2 + D, S) of statistics (N, S): mean, standard deviation, axes of most variance."""
    rows = table[np.isfinite(table).all(axis=1)].astype(np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    rows = (rows - mean) / deviation
    _, axes = np.linalg.eigh(rows.T @ rows)
    return np.concatenate([[mean, deviation], axes[:, ::-1].T[:DIMENSIONS]])


def project(table: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Principal components (N, D) of statistics (N, S); rows of NaN become zeros."""
    there = np.isfinite(table).all(axis=1)
    result = np.zeros((len(table), len(projection) - 2), dtype=np.float32)
    result[there] = (table[there].astype(np.float64) - projection[0]) / projection[1] @ projection[2:].T
    return result
