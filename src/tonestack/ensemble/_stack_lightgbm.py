"""Gradient-boosted trees over all classes (LightGBM, Ke et al. 2017), as system 4 of FSDKaggle2018 stacked with."""

import lightgbm as lgb
import numpy as np

from tonestack.ensemble.stackers import Fitted, Rows, StackParams, inner_split


def fit(rows: Rows, params: StackParams, seed: int) -> Fitted:
    """Choose the number of rounds on an inner split, then fit all rows with it."""
    settings = _settings(rows, params, seed)
    learn, stop = inner_split(rows, seed)
    trial = lgb.train(
        settings,
        _data(rows.where(learn)),
        num_boost_round=params.rounds,
        valid_sets=[_data(rows.where(stop))],
        callbacks=[lgb.early_stopping(params.patience, verbose=False)],
    )
    model = lgb.train(settings, _data(rows), num_boost_round=max(trial.best_iteration, 1))

    def predict(features: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict(features), dtype=np.float32)

    return predict


def _data(rows: Rows) -> lgb.Dataset:
    return lgb.Dataset(rows.features, rows.targets, weight=rows.weights, params={"max_bin": 63, "verbose": -1})


def _settings(rows: Rows, params: StackParams, seed: int) -> dict[str, object]:
    return {
        "objective": "multiclass",
        "num_class": rows.classes,
        "learning_rate": params.learning_rate,
        "num_leaves": params.leaves,
        "min_data_in_leaf": params.min_clips,
        "feature_fraction": params.feature_fraction,
        "lambda_l2": params.l2_leaves,
        "max_bin": 63,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,  # several fits run at once, and OpenMP spins on a busy machine
        "verbose": -1,
    }
