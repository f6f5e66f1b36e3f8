"""Gradient-boosted trees over all classes (LightGBM, Ke et al. 2017) upon the pool of the tables.

System 4 of FSDKaggle2018's winners' list stacked with LightGBM; here every tree corrects the pool's logits.
"""

import lightgbm as lgb
import numpy as np

from tonestack.ensemble.stackers import Fitted, Inputs, Rows, StackParams, inner_split, pool, pooled, softmax


def fit(rows: Rows, params: StackParams, seed: int) -> Fitted:
    """Choose the number of rounds on an inner split, none included, then fit all rows with it."""
    settings = _settings(rows, params, seed)
    learn, stop = inner_split(rows, seed)
    weights = pool(rows.where(learn))
    held = rows.where(stop)
    trial = lgb.train(
        settings,
        _data(rows.where(learn), weights),
        num_boost_round=params.rounds,
        valid_sets=[_data(held, weights)],
        callbacks=[lgb.early_stopping(params.patience, verbose=False)],
    )
    base = -np.log(np.maximum(softmax(pooled(weights, held.inputs))[np.arange(len(held.targets)), held.targets], 1e-15))
    rounds = trial.best_iteration if trial.best_score["valid_0"]["multi_logloss"] < base.mean() else 0
    weights = pool(rows)
    return Boosted(weights, lgb.train(settings, _data(rows, weights), num_boost_round=rounds) if rounds else None)


class Boosted:
    """The pool, corrected by trees; `model` is None where the pool alone was best."""

    def __init__(self, weights: np.ndarray, model: lgb.Booster | None) -> None:
        self.weights, self.model = weights, model

    def __call__(self, inputs: Inputs) -> np.ndarray:
        logits = pooled(self.weights, inputs)
        if self.model is not None:
            logits = logits + np.asarray(self.model.predict(inputs.columns, raw_score=True))
        return softmax(logits)

    def arrays(self) -> dict[str, np.ndarray]:
        """The pool's weights, and the trees as LightGBM's own text."""
        text = "" if self.model is None else self.model.model_to_string()
        return {"pool": self.weights, "trees": np.frombuffer(text.encode(), np.uint8)}


def restore(arrays: dict[str, np.ndarray]) -> Boosted:
    """Undo `Boosted.arrays`."""
    text = arrays["trees"].tobytes().decode()
    return Boosted(arrays["pool"], lgb.Booster(model_str=text) if text else None)


def _data(rows: Rows, weights: np.ndarray) -> lgb.Dataset:
    start = pooled(weights, rows.inputs).ravel(order="F")  # class after class
    return lgb.Dataset(
        rows.inputs.columns,
        rows.targets,
        weight=rows.weights,
        init_score=start,
        params={"max_bin": 31, "verbose": -1, "feature_pre_filter": False},
    )


def _settings(rows: Rows, params: StackParams, seed: int) -> dict[str, object]:
    return {
        "objective": "multiclass",
        "num_class": rows.classes,
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
