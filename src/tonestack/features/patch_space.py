"""Where clips lie by their patches: principal components of pooled responses and statistics, at several playing speeds.

A space is learnt without labels from all training and test clips of a store, once per seed. It is kept, with the
places of the clips, in the competition's cache, so that all folds and all pair models share it as they share features.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from tonestack.base.files import array_hash, atomic, claimed, fingerprint, write_array
from tonestack.features import clip_statistics, patches
from tonestack.features.patches import Patches
from tonestack.features.store import Store

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits
from torch import Tensor

FORMAT = 1  # raise it when the same settings would give another space
OF_REGRESSION = {"width", "landmarks", "penalties", "columns"}  # settings that the space does not depend on
SAMPLE = 3000  # rows that moments and components are measured on, at most
BLOCK = 64  # clips whose columns are held at once
MOST = 6e4  # of what float16 holds: the frames of an hour are more
LEAST = 1e-6  # of the largest eigenvalue: below it a direction is rounding


_spaces: WeakValueDictionary[str, "PatchSpace"] = WeakValueDictionary()  # of recordings outside the competition


@dataclass(frozen=True, eq=False)
class PatchSpace:
    """Patches, a projection, and the places of clips.

    tensors: filters and bias of the patches; mean and scale (D,) of columns, and turn (D, P) float16, the principal
    directions of standardised ones. settings: of `networks/models/patch_kernel.py`. centres: (F,) of the bands in Hz,
    where they are known. places: (N, S, P) float32 of the clips `names`, at each speed; NaN without audio.
    last: the clips heard last and their components, because the folds of an ensemble ask for the same ones.
    """

    tensors: dict[str, Tensor]
    settings: Any
    centres: np.ndarray | None
    names: pd.Index
    places: np.ndarray
    last: dict[str, Any] = field(default_factory=dict)

    def of(self, store: Store, clip_ids: list[str]) -> Tensor:
        """Components (n, S, P) of clips; NaN without audio. Those that are not kept are heard."""
        if self.last.get("store") is not store or self.last["clip_ids"] != clip_ids:
            self.last.update(store=store, clip_ids=list(clip_ids), found=self._found(store, clip_ids))
        found: Tensor = self.last["found"]
        return found

    def _found(self, store: Store, clip_ids: list[str]) -> Tensor:
        row = self.names.get_indexer(pd.Index(clip_ids, dtype=object))
        found = np.full((len(clip_ids), *self.places.shape[1:]), np.nan, np.float32)
        found[row >= 0] = self.places[row[row >= 0]]
        new = np.flatnonzero(row < 0)
        new = new[store.rows([clip_ids[at] for at in new])[1] > 0]
        filters = Patches(self.tensors["filters"], self.tensors["bias"])
        for some in (new[at : at + BLOCK] for at in range(0, len(new), BLOCK)):
            columns = _columns(filters, store, [clip_ids[at] for at in some], self.settings, self.centres)
            found[some] = self.project(columns)
        return torch.from_numpy(found)

    def project(self, columns: Tensor) -> np.ndarray:
        """Components (n, S, P) of columns (n, S, D)."""
        t = self.tensors
        turned: Tensor = (columns.float() - t["mean"]) / t["scale"] @ t["turn"].float()
        return turned.numpy()


def restored(tensors: dict[str, Tensor], settings: Any, centres: np.ndarray | None) -> PatchSpace:
    """The space for recordings outside the competition; folds that have learnt the same one share it."""
    own = (array_hash(tensors[name].numpy()) for name in ("filters", "bias", "mean", "scale", "turn"))
    key = fingerprint([*own, settings.model_dump(exclude=OF_REGRESSION), array_hash(centres)])
    return _spaces.setdefault(key, _unkept(tensors, settings, centres))


def _unkept(tensors: dict[str, Tensor], settings: Any, centres: np.ndarray | None) -> PatchSpace:
    """A space that keeps no clip's place."""
    nothing = np.zeros((0, len(settings.speeds), tensors["turn"].shape[1]), np.float32)
    return PatchSpace(tensors, settings, centres, pd.Index([], dtype=object), nothing)


def opened(cache: Path, store: Store, settings: Any, seed: int, centres: np.ndarray | None) -> PatchSpace:
    """The space of a store's training and test clips, learnt by the first process that asks for it."""
    asked = settings.model_dump(exclude=OF_REGRESSION)
    path = cache / "stages" / f"patches-{fingerprint([FORMAT, store.fingerprint, asked, seed])}.npy"
    learnt = path.with_suffix(".safetensors")
    names = store.clips.index[store.clips["part"].isin(["train", "test"])]
    with claimed(path.with_suffix(".lock"), ""):
        if not (path.is_file() and learnt.is_file()):
            space = _learn(store, names, settings, seed, centres)
            with atomic(learnt) as temporary:
                save_file(space.tensors, temporary)
            write_array(path, space.places)
    return PatchSpace(load_file(learnt), settings, centres, names, np.load(path, mmap_mode="r", allow_pickle=False))


def _learn(store: Store, names: pd.Index, settings: Any, seed: int, centres: np.ndarray | None) -> PatchSpace:
    """Learn patches, moments and components, and place all clips."""
    heard = names[store.rows(names)[1] > 0].tolist()
    found = patches.learn(store, heard, settings, seed)
    drawn = np.random.default_rng(seed).permutation(len(heard))[: max(1, SAMPLE // len(settings.speeds))]
    some = [heard[at] for at in np.sort(drawn)]
    columns = _columns(found, store, some, settings, centres)
    tensors = {"filters": found.filters, "bias": found.bias}
    tensors |= _moments(columns.flatten(0, 1), len(clip_statistics.names(store.width)), settings.statistics)
    rows = (columns.flatten(0, 1).float() - tensors["mean"]) / tensors["scale"]
    tensors |= {"turn": _directions(rows, settings.components)}
    space = _unkept(tensors, settings, centres)
    space = replace(space, names=pd.Index(some, dtype=object), places=space.project(columns))
    return replace(space, names=names, places=space.of(store, names.tolist()).numpy(), last={})


def _moments(rows: Tensor, statistics: int, weight: float) -> dict[str, Tensor]:
    """Mean and scale (D,) of rows (n, D), such that squared differences of responses are means.

    Those of the last columns, the statistics, are means times `weight`.
    """
    blocks = rows.split(BLOCK)
    mean = torch.stack([block.double().sum(0) for block in blocks]).sum(0) / len(rows)
    variance = torch.stack([(block.double() - mean).square().sum(0) for block in blocks]).sum(0) / len(rows)
    scale = (variance.sqrt() + 1e-3) * (len(mean) - statistics) ** 0.5
    scale[-statistics:] *= (statistics / max(weight, 1e-12) / (len(mean) - statistics)) ** 0.5
    return {"mean": mean.float(), "scale": scale.float()}


def _directions(rows: Tensor, most: int) -> Tensor:
    """Principal directions (D, P) float16 of rows (n, D), from the products of the rows."""
    last = len(rows) - 1
    with threadpool_limits(1):  # sums in the same order on every run
        values, vectors = eigh((rows @ rows.T).double().numpy(), subset_by_index=[max(0, last + 1 - most), last])
    kept = values > LEAST * values[-1]
    return (rows.T @ torch.from_numpy(vectors[:, kept] / np.sqrt(values[kept])).float()).half()


def _columns(found: Patches, store: Store, clip_ids: list[str], settings: Any, centres: np.ndarray | None) -> Tensor:
    """Responses and statistics (n, S, D) float16 of clips that have audio, at each speed."""

    def row(x: np.ndarray) -> Tensor:
        responses = found.responses(patches.long_enough(x, settings), settings)
        return torch.cat([responses, torch.from_numpy(clip_statistics.clip_statistics(x)).clamp(-MOST, MOST)]).half()

    return torch.stack(
        [
            torch.stack([row(patches.played(x, speed, centres)) for speed in settings.speeds])
            for x in patches.clips(store, clip_ids, settings)
        ]
    )
