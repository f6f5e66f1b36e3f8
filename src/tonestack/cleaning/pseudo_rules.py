"""Pseudo-label rounds with scheduled thresholds: models label clips, the next models learn from them.

Round r trains on revision `pseudo<r>` (`pseudo.name`): the trusted rows of the revision the rounds started from
(verified, corrected, promoted, relabelled) and, of the other clips, those that the round before predicted with a
probability between two bounds.
A test clip of holdout k is labelled by models that never saw fold k; an unverified training clip by judges that saw
neither its own fold nor k. Clips of fold k get no label in holdout k.

A model that has learnt a test clip's pseudo-label repeats it, right or wrong, and no cross-validation sees that:
held-out clips teach nothing. So test clips are cross-fitted (`pseudo.cross_fit`): in every holdout about half of them
teach, the other half in the next round, and a test clip is predicted only by the models that it has not taught.
"""

from collections.abc import Sequence

from tonestack import tasks
from tonestack.base.errors import UserError
from tonestack.base.files import name_hash
from tonestack.config import layers
from tonestack.settings.data_config import Bounds, PseudoParams

import numpy as np
import pandas as pd


def resolved(params: PseudoParams) -> PseudoParams:
    """Fill the regime's keys in under those that were given."""
    if params.regime is None:
        return params
    place, values = layers.layer("pseudo", params.regime)
    given = params.model_dump(include=params.model_fields_set)
    return PseudoParams.parse(values | given, place)


def bound(schedule: Bounds, number: int, rounds: int) -> float:
    """Linear from the first round (1) to the last; a single round takes the start."""
    first, last = schedule
    return first + (last - first) * (number - 1) / max(rounds - 1, 1)


def chosen(p: np.ndarray, lower: float, upper: float, given: np.ndarray | None = None) -> np.ndarray:
    """Rows (n,) whose largest probability lies within the bounds; with `given` (n, C) also its class must be given.

    Rows of NaN, clips that nobody predicted, are never chosen.
    """
    best = p.max(axis=1)
    inside: np.ndarray = (best >= lower) & (best <= upper)
    return inside if given is None else inside & given[np.arange(len(p)), p.argmax(axis=1)]


def teaching(clip_ids: Sequence[str], position: int, holdouts: int, number: int) -> np.ndarray:
    """Which test clips (n,) teach the model of a holdout (the `position`-th of `holdouts`) in round `number`.

    A clip teaches in about half of the holdouts, in the next round in the others, never in all: with one holdout none.
    """
    if holdouts == 1:
        return np.zeros(len(clip_ids), bool)
    part = np.array([name_hash(name) for name in clip_ids]) % holdouts
    early: np.ndarray = (part - position) % holdouts < holdouts // 2
    return early if number % 2 else ~early


def rows_of(
    ids: Sequence[str], p: np.ndarray, holdout: int, source: str, weight: float, classes: Sequence[str], task: str
) -> pd.DataFrame:
    """Revision rows of clips with their predictions p (n, C); class columns hold the probabilities."""
    label = tasks.find(task).labels_of(p, tuple(classes))
    rows = pd.DataFrame({"clip_id": list(ids), "holdout": holdout, "label": label, "weight": weight, "source": source})
    soft = pd.DataFrame(p.astype(np.float64).round(6), columns=list(classes))
    return pd.concat([rows, soft], axis=1)


def hardened(rows: pd.DataFrame, classes: Sequence[str], soft: bool, task: str) -> pd.DataFrame:
    """Drop the class columns, or fill them in (0 and 1) for rows that have none."""
    if not soft:
        return rows.drop(columns=list(classes), errors="ignore")
    own = tasks.find(task).targets(rows["label"], tuple(classes)).astype(np.float64)
    filled = pd.DataFrame(own, index=rows.index, columns=list(classes))
    present = rows.reindex(columns=list(classes))
    return rows.assign(**{c: present[c].fillna(filled[c]) for c in classes})


def check(params: PseudoParams) -> PseudoParams:
    """Refuse bounds that no clip can meet, and warm starts that would undo cross-fitting."""
    if params.start == "warm" and params.cross_fit and params.test:
        raise UserError(
            "pseudo: a warm start carries what test clips have taught into the next round; "
            "give pseudo.start=scratch or pseudo.cross_fit=false"
        )
    for number in range(1, params.rounds + 1):
        low, high = bound(params.lower, number, params.rounds), bound(params.upper, number, params.rounds)
        if not 0 <= low < high <= 1:
            raise UserError(
                f"pseudo: round {number} asks for probabilities from {low:.3g} to {high:.3g}; mend lower or upper"
            )
    return params
