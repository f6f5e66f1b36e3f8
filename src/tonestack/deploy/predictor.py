"""Predict new clips as any table of oof/<name>/ does: features, every experiment, every fold, then the table's recipe.

Clips are short and decoded already; `recordings.py` cuts long files into such clips.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.deploy import new_clips
from tonestack.deploy.trained import TrainedExperiment
from tonestack.ensemble import recipe
from tonestack.ensemble.recipe import NOTHING, About, Recipe
from tonestack.features import clip_statistics, pieces
from tonestack.features.audio import Clip
from tonestack.features.store import Store
from tonestack.settings.data_config import DataConfig
from tonestack.tables import oof
from tonestack.training.device import choose_device

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

Spec = dict[str, Any]


class Predictor:
    """Function from clips to a table's predictions. The competition's cache is neither read nor written."""

    def __init__(
        self,
        folder: Path,
        table: str,
        data: DataConfig,
        device: str = "auto",
        folds: Sequence[int] | None = None,
        runtime: str = "torch",
    ) -> None:
        task = tasks.find(data.task)
        if not task.tags:
            tagging = [name for name in parts.names("tasks") if tasks.find(name).tags]
            raise UserError(f"task '{data.task}': only recordings of {' and '.join(tagging)} have tags")
        self.normalise, self.fold_mean = task.one_label, data.fold_mean
        self.recipe = recipe.read(folder, table, self.normalise)
        place = choose_device(device)
        self.trained = {
            name: TrainedExperiment(folder / name, data.task, place, folds, runtime) for name in self.recipe.experiments
        }
        self.classes = _one_class_list(list(self.trained.values()))
        specs = [*(trained.settings.frontend for trained in self.trained.values()), *self.recipe.frontends]
        self.frontends = {key(spec): new_clips.build_frontend(spec) for spec in specs}

    def __call__(self, clips: Sequence[Clip], paths: Sequence[str] | None = None) -> np.ndarray:
        """Return probabilities (N, C) of the clips.

        paths: of their files, whose names a stacker may read. Clips in a row of one file are its pieces in order: they
        are laid together where a network hears what lies between them (`inference.half_shift`).
        """
        networks = [trained for trained in self.trained.values() if trained.learner == "network"]
        shifted = any(trained.settings.inference.half_shift for trained in networks)
        whole, cut = joined(clips, paths) if shifted and paths else (clips, None)
        stores = self.stores(whole, cut=cut)
        tables = {
            name: self.table(name, stores[key(trained.settings.frontend)]) for name, trained in self.trained.items()
        }
        return self.mixed(self.recipe, tables, stores, About(paths=paths))

    def stores(
        self, clips: Sequence[Clip], keys: Sequence[str] | None = None, cut: pd.DataFrame | None = None
    ) -> dict[str, Store]:
        """Compute the clips' features by all or some frontends, in memory, one thread per clip.

        cut: the pieces of the clips to predict, `recording` (the clip's number as text), `start, end` (s), in place of
        the clips themselves. Each recording's features are computed once, whatever the number of its pieces.
        """
        chosen = list(self.frontends) if keys is None else list(keys)
        frontends = [self.frontends[k] for k in chosen]
        with threadpool_limits(1):  # the products are small
            calls = (joblib.delayed(new_clips.frames)(clip, frontends) for clip in clips)
            made = joblib.Parallel(min(joblib.cpu_count(), len(clips)), prefer="threads")(calls)
        by_frontend = zip(chosen, frontends, zip(*made, strict=True), strict=True)
        found = {k: Store.in_memory(frames, frontend) for k, frontend, frames in by_frontend}
        return found if cut is None else {k: pieces.only(store, cut) for k, store in found.items()}

    def table(self, name: str, store: Store) -> np.ndarray:
        """Return every fold's predictions (K, N, C) of one experiment."""
        trained = self.trained[name]
        return np.stack([trained.probabilities(trained.fold(k), store) for k in trained.folds])

    def mixed(
        self, how: Recipe, tables: dict[str, np.ndarray], stores: dict[str, Store], about: About = NOTHING
    ) -> np.ndarray:
        """Return probabilities (N, C) by a recipe from the experiments' tables (K, N, C)."""

        def measured(spec: Spec) -> np.ndarray:
            store = stores[key(spec)]
            return clip_statistics.table(store, store.clips.index.tolist(), clip_statistics.kind_for(spec["name"]))

        return self.combine(how.rows(tables, measured, self.combine, about))

    def combine(self, rows: np.ndarray) -> np.ndarray:
        """Average folds (K, N, C) to (N, C) by the data config's `fold_mean`."""
        return oof.combine_folds(rows, self.fold_mean, self.normalise)


def joined(clips: Sequence[Clip], paths: Sequence[str]) -> tuple[list[Clip], pd.DataFrame]:
    """Recordings from their pieces, and where each piece lies: `recording` (number, as text), `start, end` (s)."""
    number = np.cumsum([own != before for own, before in zip(paths, [None, *paths], strict=False)]) - 1
    seconds = np.array([len(clip.wave) / clip.rate for clip in clips])
    parts = [[clips[int(row)] for row in np.flatnonzero(number == n)] for n in range(number[-1] + 1)]
    whole = [own[-1]._replace(wave=np.concatenate([clip.wave for clip in own])) for own in parts]
    end = pd.Series(seconds).groupby(number).cumsum().to_numpy()
    return whole, pd.DataFrame({"recording": number.astype(str), "start": end - seconds, "end": end})


def key(spec: Spec) -> str:
    """Return a frontend's config as text."""
    return json.dumps(spec, sort_keys=True)


def _one_class_list(trained: list[TrainedExperiment]) -> tuple[str, ...]:
    """Return the experiments' classes; they must be the same in all."""
    first = trained[0]
    for other in trained[1:]:
        if other.classes != first.classes:
            raise UserError(f"{other.folder} and {first.folder} have different classes; train one of them again")
    return first.classes
