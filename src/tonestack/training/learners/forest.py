"""Forests: extremely randomised trees on clip statistics, kept as plain arrays (no pickle)."""

from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features import clip_statistics
from tonestack.features.store import Store
from tonestack.labels.training_labels import Labels
from tonestack.settings.model_config import ModelConfig
from tonestack.training.fitted_once import FittedOnce
from tonestack.training.job import FoldJob

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from torch import Tensor

LEAST_SHARE = 0.01  # soft targets below it are not worth a row
FLOOR = 1e-4  # a class no tree votes for is improbable, not impossible


class Forest:
    """Trees as arrays, all nodes end to end.

    left, right, feature, threshold: (nodes,); children are absolute places, -1 at a leaf. roots: (trees,).
    value: (nodes, C) class shares, float16, rows of zeros at inner nodes.
    """

    def __init__(self, arrays: dict[str, np.ndarray], kind: Any = "spectrogram") -> None:
        self.arrays, self.kind = arrays, kind

    @classmethod
    def of(cls, trees: list[Any], columns: np.ndarray | None, n_classes: int, kind: Any = "spectrogram") -> "Forest":
        """Take scikit-learn's trees apart; `columns` are the classes that a classifier knows."""
        sizes = [tree.tree_.node_count for tree in trees]
        roots = np.cumsum([0, *sizes[:-1]])
        pieces: dict[str, list[np.ndarray]] = {key: [] for key in ("left", "right", "feature", "threshold", "value")}
        for root, tree in zip(roots, (t.tree_ for t in trees), strict=True):
            leaf = tree.children_left < 0
            pieces["left"].append(np.where(leaf, -1, tree.children_left + root).astype(np.int32))
            pieces["right"].append(np.where(leaf, -1, tree.children_right + root).astype(np.int32))
            pieces["feature"].append(np.where(leaf, 0, tree.feature).astype(np.int32))
            pieces["threshold"].append(tree.threshold.astype(np.float64))
            value = np.zeros((tree.node_count, n_classes), np.float16)
            if columns is None:  # a regressor: one output per class, the mean of its targets
                value[leaf] = tree.value[leaf, :, 0]
            else:
                shares = tree.value[leaf, 0]
                value[np.ix_(leaf, columns)] = shares / shares.sum(axis=1, keepdims=True)
            pieces["value"].append(value)
        arrays = {key: np.concatenate(value) for key, value in pieces.items()} | {"roots": roots.astype(np.int32)}
        return cls(arrays, kind)

    @property
    def params(self) -> int:
        """Number of nodes."""
        return len(self.arrays["left"])

    def tensors(self) -> dict[str, Tensor]:
        """The arrays."""
        return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in self.arrays.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Mean of the trees' class shares (N, C) for statistics x (N, S)."""
        a = self.arrays
        node = np.tile(a["roots"], (len(x), 1))  # (N, trees)
        row = np.arange(len(x))[:, None]
        while (inner := a["left"][node] >= 0).any():
            goes_left = x[row, a["feature"][node]] <= a["threshold"][node]
            node = np.where(inner, np.where(goes_left, a["left"][node], a["right"][node]), node)
        shares = np.zeros((len(x), a["value"].shape[1]), np.float64)
        for tree in range(node.shape[1]):  # one tree at a time: (N, trees, C) could be large
            shares += a["value"][node[:, tree]]
        mean: np.ndarray = shares / node.shape[1]
        return mean

    def log_probabilities(self, store: Store, clip_ids: list[str], crops: int | None = None) -> np.ndarray:
        """Log of the trees' mean vote (N, C); NaN rows for clips without audio. A forest uses whole clips."""
        x = clip_statistics.table(store, clip_ids, self.kind)
        usable = ~np.isnan(x).any(axis=1)
        logs = np.full((len(x), self.arrays["value"].shape[1]), np.nan)
        logs[usable] = np.log(self.predict(x[usable]) + FLOOR)
        return logs


def restore(settings: ModelConfig, tensors: dict[str, Tensor], classes: int, task: str, device: torch.device) -> Forest:
    """The forest that `Forest.tensors` describes."""
    params: Any = parts.part_params("models", settings.network, "network")
    return Forest({key: value.numpy() for key, value in tensors.items()}, params.statistics)


def fit(job: FoldJob, store: Store) -> FittedOnce:
    """Grow the fold's forest on its training clips."""
    if store.width == 1:
        raise UserError(f"{job.experiment.name}: a forest needs a spectrogram frontend such as logmel, not a waveform")
    params: Any = parts.part_params("models", job.experiment.config.network, "network")
    x = clip_statistics.table(store, job.labels.clip_ids, params.statistics)
    usable = ~np.isnan(x).any(axis=1)
    labels = job.labels.take(usable)
    settings = {
        "n_estimators": params.trees,
        "min_samples_leaf": params.min_leaf,
        "max_features": params.max_features,
        "random_state": (job.experiment.seed * 1000 + job.fold) % 2**31,
        "n_jobs": job.threads,
    }
    several = not tasks.find(job.task).one_label
    trees = (_several_labels if several else _one_label)(settings, x[usable], labels)
    columns = getattr(trees, "classes_", None)
    return FittedOnce(store, Forest.of(trees.estimators_, columns, len(job.classes), params.statistics))


def _one_label(settings: dict[str, Any], x: np.ndarray, labels: Labels) -> Any:
    """Classes exclude each other; soft targets become weighted rows."""
    shares = labels.targets * labels.weights[:, None]
    row, label = np.nonzero(shares > LEAST_SHARE)
    return ExtraTreesClassifier(**settings).fit(x[row], label, sample_weight=shares[row, label])


def _several_labels(settings: dict[str, Any], x: np.ndarray, labels: Labels) -> Any:
    """Classes are independent: one output per class, and splits that lower the variance of all.

    An unknown cell gets the mean of its class's known ones: it draws no split and moves a leaf's mean little.
    """
    return ExtraTreesRegressor(**settings).fit(x, labels.filled, sample_weight=labels.weights)
