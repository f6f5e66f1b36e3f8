"""Any table of oof/<name>/, made for new clips: features in memory, every experiment, every fold, then its recipe."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.parts import part_params
from tonestack.deploy.saved import Saved
from tonestack.ensemble import recipe
from tonestack.ensemble.recipe import Recipe
from tonestack.features import clip_statistics
from tonestack.features.audio import Clip
from tonestack.features.decode import features
from tonestack.features.frontends import FrontendProtocol
from tonestack.features.store import Store
from tonestack.settings.data_config import DataConfig
from tonestack.tables import oof
from tonestack.training.device import choose_device

import joblib
import numpy as np
from threadpoolctl import threadpool_limits

Spec = dict[str, Any]


class Predictor:
    """A table as a function of clips. Nothing is read from or written to the competition's cache."""

    def __init__(
        self, folder: Path, table: str, data: DataConfig, device: str = "auto", folds: Sequence[int] | None = None
    ) -> None:
        task = tasks.find(data.task)
        if not task.tags:
            tagging = [name for name in parts.names("tasks") if tasks.find(name).tags]
            raise UserError(f"task '{data.task}': only recordings of {' and '.join(tagging)} have tags")
        self.normalise, self.fold_mean = task.one_label, data.fold_mean
        self.recipe = recipe.read(folder, table, self.normalise)
        place = choose_device(device)
        self.saved = {name: Saved(folder / name, data.task, place, folds) for name in self.recipe.experiments}
        self.classes = _one_class_list(list(self.saved.values()))
        specs = [*(saved.settings.frontend for saved in self.saved.values()), *self.recipe.frontends]
        self.frontends = {key(spec): build_frontend(spec) for spec in specs}

    def __call__(self, clips: Sequence[Clip]) -> np.ndarray:
        """Probabilities (N, C) of the clips."""
        stores = self.stores(clips)
        tables = {name: self.table(name, stores[key(saved.settings.frontend)]) for name, saved in self.saved.items()}
        return self.mixed(self.recipe, tables, stores)

    def stores(self, clips: Sequence[Clip], keys: Sequence[str] | None = None) -> dict[str, Store]:
        """The clips' features by every frontend, or by some, in memory; clips run side by side in threads."""
        chosen = list(self.frontends) if keys is None else list(keys)
        frontends = [self.frontends[k] for k in chosen]
        with threadpool_limits(1):  # the products are small
            calls = (joblib.delayed(_features)(clip, frontends) for clip in clips)
            made = joblib.Parallel(min(joblib.cpu_count(), len(clips)), prefer="threads")(calls)
        by_frontend = zip(chosen, frontends, zip(*made, strict=True), strict=True)
        return {k: Store.in_memory(frames, frontend) for k, frontend, frames in by_frontend}

    def table(self, name: str, store: Store) -> np.ndarray:
        """What every fold of one experiment says (K, N, C)."""
        saved = self.saved[name]
        return np.stack([saved.probabilities(saved.fold(k), store) for k in saved.folds])

    def mixed(self, how: Recipe, tables: dict[str, np.ndarray], stores: dict[str, Store]) -> np.ndarray:
        """Probabilities (N, C) by a recipe from the experiments' tables (K, N, C)."""

        def measured(spec: Spec) -> np.ndarray:
            store = stores[key(spec)]
            return clip_statistics.table(store, store.clips.index.tolist())

        return self.combine(how.rows(tables, measured, self.combine))

    def combine(self, rows: np.ndarray) -> np.ndarray:
        """Folds (K, N, C) to one (N, C), as the data config says."""
        return oof.combine_folds(rows, self.fold_mean, self.normalise)


def key(spec: Spec) -> str:
    """One frontend with its settings, as text."""
    return json.dumps(spec, sort_keys=True)


def build_frontend(spec: Spec) -> FrontendProtocol:
    """The frontend that a config describes."""
    frontend: FrontendProtocol = parts.find("frontends", spec["name"]).Frontend(
        part_params("frontends", spec, "frontend")
    )
    return frontend


def _features(clip: Clip, frontends: list[FrontendProtocol]) -> list[np.ndarray]:
    return list(features(clip, frontends))


def _one_class_list(saved: list[Saved]) -> tuple[str, ...]:
    """The experiments' classes, which must be the same in all."""
    first = saved[0]
    for other in saved[1:]:
        if other.classes != first.classes:
            raise UserError(f"{other.folder} and {first.folder} know different classes; train one of them again")
    return first.classes
