"""Fit, save and restore a stacker found by name, and compute its nested out-of-fold rows."""

from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import atomic
from tonestack.ensemble.problem import BLAS
from tonestack.ensemble.stack_inputs import FittedStacker, StackInputs, StackRows
from tonestack.settings.data_config import StackParams

import numpy as np
from joblib import Parallel, delayed
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file


def fit(name: str, rows: StackRows, params: StackParams, seed: int) -> FittedStacker:
    """Fit the stacker called `name` (`lightgbm`, `logistic`)."""
    module: Any = parts.find("stackers", name)
    fitted: FittedStacker = module.fit(rows, params, seed)
    return fitted


def save(path: Path, fitted: FittedStacker, projection: np.ndarray | None, around: bool = False) -> None:
    """Write a fitted stacker as safetensors, with the projection of its clip statistics if it uses them.

    around: its inputs have what other windows of a recording say.
    """
    arrays = fitted.arrays() | ({} if projection is None else {"projection": projection})
    arrays |= {"around": np.ones(1, np.uint8)} if around else {}
    with atomic(path) as temporary:
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, temporary)


def restore(name: str, path: Path) -> tuple[FittedStacker, np.ndarray | None, bool]:
    """Read back what `save` wrote of the stacker called `name`: the stacker, `projection` and `around`."""
    try:
        arrays = load_file(path)
        projection = arrays.pop("projection", None)
        module: Any = parts.find("stackers", name)
        around = arrays.pop("around", None) is not None
        return module.restore(arrays), projection, around
    except (OSError, SafetensorError, ImportError, KeyError, TypeError) as error:
        raise UserError(f"{path}: the stacker cannot be read ({error}); run stack again") from None


def nested(
    name: str, rows: StackRows, inputs: StackInputs, fold: np.ndarray, params: StackParams, seed: int
) -> np.ndarray:
    """Out-of-fold probabilities of the stacker: `inputs` of N clips of folds (N,) -> (N, C).

    Rows of fold -1 stay NaN: no model predicts them.
    """
    result = np.full((len(fold), rows.classes), np.nan, dtype=np.float32)

    def one(k: int) -> np.ndarray:
        return fit(name, rows.where(rows.fold != k), params, seed)(inputs.where(fold == k))

    folds = np.unique(fold[fold >= 0])
    with BLAS.limit(limits=1, user_api="blas"):  # the folds share the cores already
        predicted = Parallel(n_jobs=params.jobs, prefer="threads")(delayed(one)(k) for k in folds)
    for k, part in zip(folds, predicted, strict=True):
        result[fold == k] = part
    return result
