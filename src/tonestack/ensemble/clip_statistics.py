"""Statistics of the clips' spectrograms as extra columns of a stacker, where prepared features are there."""

from pathlib import Path

import numpy as np

from tonestack import statistics
from tonestack.errors import UserError
from tonestack.files import write_array
from tonestack.run import Run
from tonestack.store import Store

DIMENSIONS = 24  # principal components kept of the statistics


def store_of(run: Run) -> Store | None:
    """The first prepared spectrogram of the call's models; None where nothing is prepared."""
    for experiment in run.experiments():
        spec = experiment.config.frontend
        if spec["name"] != "logmel":
            continue
        try:
            return Store.open(run.cache, spec, run.data.audio)
        except UserError:
            continue
    return None


def read(run: Run, train: list[str], test: list[str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Principal components of the statistics of training and test clips, (N, S) and (M, S); None without a store.

    The components are fitted on all clips, without a label. Clips without audio get zeros.
    """
    store = store_of(run)
    if store is None:
        return None, None
    found = known(run, len(train) + len(test))
    if found is None:
        found = components(statistics.table(store, train + test))
        write_array(_path(run, store), found)
    return found[: len(train)], found[len(train) :]


def known(run: Run, rows: int) -> np.ndarray | None:
    """What an earlier `read` has left of `rows` clips, training clips first; None where it has not."""
    store = store_of(run)
    path = _path(run, store) if store else None
    found = np.load(path, allow_pickle=False) if path and path.is_file() else None
    return found if found is not None and len(found) == rows else None


def _path(run: Run, store: Store) -> Path:
    return run.cache / "stages" / f"statistics-{store.fingerprint}.npy"


def components(table: np.ndarray) -> np.ndarray:
    """Principal components (N, DIMENSIONS) of standardised rows; rows of NaN become zeros."""
    there = np.isfinite(table).all(axis=1)
    rows = table[there].astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    _, axes = np.linalg.eigh(rows.T @ rows)
    result = np.zeros((len(table), min(DIMENSIONS, rows.shape[1])), dtype=np.float32)
    result[there] = rows @ axes[:, ::-1][:, : result.shape[1]]
    return result
