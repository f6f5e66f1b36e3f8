"""Fit, save and restore a stacker found by name, and compute its nested out-of-fold rows."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import atomic
from tonestack.ensemble import fold_levels
from tonestack.ensemble.name_columns import NameColumns
from tonestack.ensemble.problem import BLAS
from tonestack.ensemble.stack_inputs import FittedStacker, StackInputs, StackRows
from tonestack.settings.data_config import StackParams
from tonestack.tables import oof

import numpy as np
from joblib import Parallel, delayed
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file


@dataclass(frozen=True)
class Beside:
    """What a stacker sees beside the tables, as its file has it.

    projection: of clip statistics, None if it sees none. around: what other windows of a recording say. names: what
    files' names say.
    """

    projection: np.ndarray | None = None
    around: bool = False
    names: NameColumns | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that `take` reads back."""
        found = {} if self.projection is None else {"projection": self.projection}
        found |= {"around": np.ones(1, np.uint8)} if self.around else {}
        return found | ({} if self.names is None else {"names": self.names.to_array()})

    @classmethod
    def take(cls, arrays: dict[str, np.ndarray]) -> "Beside":
        """Take them out of a file's arrays; files of older versions have fewer."""
        projection, around, names = (arrays.pop(key, None) for key in ("projection", "around", "names"))
        return cls(projection, around is not None, None if names is None else NameColumns.of_array(names))


def fit(name: str, rows: StackRows, params: StackParams, seed: int) -> FittedStacker:
    """Fit the stacker called `name` (`lightgbm`, `logistic`)."""
    module: Any = parts.find("stackers", name)
    fitted: FittedStacker = module.fit(rows, params, seed)
    return fitted


def save(path: Path, fitted: FittedStacker, beside: Beside) -> None:
    """Write a fitted stacker as safetensors, with what it sees beside the tables."""
    arrays = fitted.arrays() | beside.arrays()
    with atomic(path) as temporary:
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, temporary)


def restore(name: str, path: Path) -> tuple[FittedStacker, Beside]:
    """Read back what `save` wrote of the stacker called `name`."""
    try:
        arrays = load_file(path)
        beside = Beside.take(arrays)
        module: Any = parts.find("stackers", name)
        return module.restore(arrays), beside
    except (OSError, SafetensorError, ImportError, KeyError, TypeError, ValueError, re.error) as error:
        raise UserError(f"{path}: the stacker cannot be read ({error}); run stack again") from None


def nested(
    name: str,
    rows: StackRows,
    inputs: StackInputs,
    fold: np.ndarray,
    params: StackParams,
    seed: int,
    test: StackInputs | None = None,
    one_label: bool = False,
) -> np.ndarray:
    """Out-of-fold probabilities of the stacker: `inputs` of N clips of folds (N,) -> (N, C).

    Rows of fold -1 stay NaN: no model predicts them. test: inputs of test rows on which the folds' stackers are brought
    to one level (`fold_levels`). A stacker that has not learnt from the clips of a class expects less of it, and just
    there it is scored.
    """
    result = np.full((len(fold), rows.classes), np.nan, dtype=np.float32)

    def one(k: int) -> tuple[np.ndarray, np.ndarray | None]:
        fitted = fit(name, rows.where(rows.fold != k), params, seed)
        return fitted(inputs.where(fold == k)), None if test is None else oof.level(fitted(test), one_label)

    folds = np.unique(fold[fold >= 0])
    with BLAS.limit(limits=1, user_api="blas"):  # the folds share the cores already
        predicted = Parallel(n_jobs=params.jobs, prefer="threads")(delayed(one)(k) for k in folds)
    for k, (part, _) in zip(folds, predicted, strict=True):
        result[fold == k] = part
    if test is not None:
        fold_levels.align(result, np.array([level for _, level in predicted]), fold, one_label)
    return result
