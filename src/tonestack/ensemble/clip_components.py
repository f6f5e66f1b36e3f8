"""Statistics of the clips' spectrograms as extra columns of a stacker, where prepared features are there."""

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


class Source(NamedTuple):
    """A prepared spectrogram and the frontend it comes from."""

    frontend: dict[str, Any]
    store: Store


def source_of(call: Call) -> Source | None:
    """The first prepared spectrogram of the call's models; None where nothing is prepared."""
    for experiment in call.experiments():
        spec = experiment.config.frontend
        if spec["name"] != "logmel":
            continue
        try:
            return Source(spec, Store.open(call.cache, spec, call.data.audio))
        except UserError:
            continue
    return None


@dataclass(frozen=True)
class Statistics:
    """Principal components of the clips' statistics: (N, D) of training and (M, D) of test clips, zeros without audio.

    projection: what makes them of statistics, see `fit`. frontend: the frontend whose spectrograms were measured.
    """

    train: np.ndarray
    test: np.ndarray
    projection: np.ndarray
    frontend: dict[str, Any]


def read(call: Call, source: Source, train: list[str], test: list[str]) -> Statistics:
    """The components of all clips, fitted on all of them, without a label."""
    table = measured(call.cache, source.store, train + test)
    projection = fit(table)
    rows = project(table, projection)
    return Statistics(rows[: len(train)], rows[len(train) :], projection, source.frontend)


def known(call: Call, clip_ids: list[str]) -> np.ndarray | None:
    """The components of clips (training, then test) whose statistics an earlier `read` left; None where none did."""
    source = source_of(call)
    path = _path(call.cache, source.store, clip_ids) if source else None
    if path is None or not path.is_file():
        return None
    table = np.load(path, allow_pickle=False)
    return project(table, fit(table))


def measured(cache: Path, store: Store, clip_ids: list[str]) -> np.ndarray:
    """Statistics (N, S) of clips, NaN rows without audio; kept in the cache."""
    path = _path(cache, store, clip_ids)
    if path.is_file():
        return np.load(path, allow_pickle=False)
    table = clip_statistics.table(store, clip_ids)
    write_array(path, table)
    return table


def _path(cache: Path, store: Store, clip_ids: list[str]) -> Path:
    return cache / "stages" / f"clip-statistics-{fingerprint([store.fingerprint, clip_ids])}.npy"


def fit(table: np.ndarray) -> np.ndarray:
    """The projection (2 + D, S) of statistics (N, S): their mean, their deviation, the axes of most variance."""
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
