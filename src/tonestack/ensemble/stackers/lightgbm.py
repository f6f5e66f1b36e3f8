"""Gradient-boosted trees (LightGBM, Ke et al. 2017) upon the pool of the tables: every tree corrects its logits.

One model of all classes if a clip has one label (as system 4 of FSDKaggle2018's winners' list); one model per class
against the rest if it may have several.
"""

from tonestack.ensemble.stack_inputs import (
    FittedStacker,
    StackInputs,
    StackRows,
    inner_split,
    pool,
    pooled,
    probabilities,
)
from tonestack.settings.data_config import StackParams

import lightgbm as lgb
import numpy as np

BINS = {"max_bin": 31, "verbose": -1, "feature_pre_filter": False}


def fit(rows: StackRows, params: StackParams, seed: int) -> FittedStacker:
    """Choose the number of rounds on an inner split, none included, then fit all rows with it."""
    learn, stop = inner_split(rows, seed)
    fitter = _each_class if rows.inputs.independent else _all_classes
    return fitter(rows, rows.where(learn), rows.where(stop), params, seed)


def _all_classes(rows: StackRows, learn: StackRows, held: StackRows, params: StackParams, seed: int) -> FittedStacker:
    settings = _settings(params, seed) | {"objective": "multiclass", "num_class": rows.classes}
    weights = pool(learn)
    trial = lgb.train(
        settings,
        _data(learn, weights),
        num_boost_round=params.rounds,
        valid_sets=[_data(held, weights)],
        callbacks=[lgb.early_stopping(params.patience, verbose=False)],
    )
    base = held.losses(probabilities(pooled(weights, held.inputs), False)).mean()
    rounds = trial.best_iteration if trial.best_score["valid_0"]["multi_logloss"] < base else 0
    weights = pool(rows)
    return Boosted(weights, lgb.train(settings, _data(rows, weights), num_boost_round=rounds) if rounds else None)


def _each_class(rows: StackRows, learn: StackRows, held: StackRows, params: StackParams, seed: int) -> FittedStacker:
    """Use one number of rounds for all classes: a single class has too few clips to choose it."""
    settings = _settings(params, seed) | {"objective": "binary"}
    weights = pool(learn)
    there, counted, seen_of = learn.truth.sum(axis=0), learn.known.sum(axis=0), held.known.sum(axis=0)
    present = [c for c in range(rows.classes) if 0 < there[c] < counted[c] and seen_of[c]]
    curve = np.zeros(params.rounds)
    for c in present:
        seen: dict[str, dict[str, list[float]]] = {}
        data, valid = (_data_of(part, weights, c) for part in (learn, held))
        lgb.train(settings, data, params.rounds, [valid], callbacks=[lgb.record_evaluation(seen)])
        curve += seen["valid_0"]["binary_logloss"]
    of_pool = held.cell_losses(probabilities(pooled(weights, held.inputs), True))
    base = (of_pool.sum(axis=0) / np.maximum(held.known.sum(axis=0), 1))[present].sum()
    rounds = int(curve.argmin()) + 1 if curve.min() < base else 0
    weights = pool(rows)
    return EachBoosted(weights, {c: lgb.train(settings, _data_of(rows, weights, c), rounds) for c in present if rounds})


class Boosted:
    """The pool, corrected by trees; `model` is None where the pool alone was best."""

    def __init__(self, weights: np.ndarray, model: lgb.Booster | None) -> None:
        self.weights, self.model = weights, model

    def __call__(self, inputs: StackInputs) -> np.ndarray:
        logits = pooled(self.weights, inputs)
        if self.model is not None:
            logits = logits + np.asarray(self.model.predict(inputs.columns, raw_score=True))
        return probabilities(logits, False)

    def arrays(self) -> dict[str, np.ndarray]:
        """The pool's weights, and the trees as LightGBM's own text."""
        trees = {} if self.model is None else {"trees": _as_bytes(self.model)}
        return {"pool": self.weights, **trees}


class EachBoosted:
    """The pool of log odds, corrected class by class; `models` holds the classes that trees help, by number."""

    def __init__(self, weights: np.ndarray, models: dict[int, lgb.Booster]) -> None:
        self.weights, self.models = weights, models

    def __call__(self, inputs: StackInputs) -> np.ndarray:
        logits = pooled(self.weights, inputs).astype(np.float64)
        for label, model in self.models.items():
            logits[:, label] += np.asarray(model.predict(inputs.columns_of(label), raw_score=True))
        return probabilities(logits, True)

    def arrays(self) -> dict[str, np.ndarray]:
        """The pool's weights, and every class's trees as LightGBM's own text."""
        trees = {f"trees.{label}": _as_bytes(model) for label, model in self.models.items()}
        return {"pool": self.weights, "each": np.ones(1, np.uint8), **trees}


def restore(arrays: dict[str, np.ndarray]) -> FittedStacker:
    """Undo `arrays` of either."""
    trees = {key: lgb.Booster(model_str=arrays[key].tobytes().decode()) for key in arrays if key.startswith("trees")}
    if "each" in arrays:
        return EachBoosted(arrays["pool"], {int(key.rpartition(".")[2]): model for key, model in trees.items()})
    return Boosted(arrays["pool"], trees.get("trees"))


def _as_bytes(model: lgb.Booster) -> np.ndarray:
    return np.frombuffer(model.model_to_string().encode(), np.uint8)


def _data(rows: StackRows, weights: np.ndarray) -> lgb.Dataset:
    start = pooled(weights, rows.inputs).ravel(order="F")  # class after class
    return lgb.Dataset(rows.inputs.columns, rows.targets, weight=rows.weights, init_score=start, params=BINS)


def _data_of(rows: StackRows, weights: np.ndarray, label: int) -> lgb.Dataset:
    counted = rows.known[:, label]
    start, there = pooled(weights, rows.inputs)[counted, label], rows.truth[counted, label].astype(int)
    columns, weight = rows.inputs.columns_of(label)[counted], rows.weights[counted]
    return lgb.Dataset(columns, there, weight=weight, init_score=start, params=BINS)


def _settings(params: StackParams, seed: int) -> dict[str, object]:
    return {
        "learning_rate": params.learning_rate,
        "num_leaves": params.leaves,
        "min_data_in_leaf": params.min_clips,
        "feature_fraction": params.feature_fraction,
        "lambda_l2": params.l2_leaves,
        "max_bin": 31,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,  # several fits run at once, and OpenMP spins on a busy machine
        "verbose": -1,
    }
