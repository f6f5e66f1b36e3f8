"""The rules of pseudo-label rounds: thresholds by round, clips that pass them, their rows.

Round r trains on revision `pseudo<r>` (`pseudo.name`). It has the trusted rows of the first revision (verified,
corrected, promoted, relabelled) and, of the other clips, those that the round before predicted with a probability
between two bounds. A test clip of holdout k is labelled by models trained without fold k, an unverified training clip
by pair models trained without its own fold and k. Clips of fold k get no label in holdout k.

A model trained on a test clip's pseudo-label repeats it, right or wrong. Cross-validation cannot show this, as models
are not trained on held-out clips. So test clips are cross-fitted (`pseudo.cross_fit`): in every holdout about half of
them are trained on, in the next round the other half. Rounds hear of a test clip from models that it has not taught;
what is submitted is the mean of all.
"""

from collections.abc import Sequence

from tonestack import tasks
from tonestack.base.errors import UserError
from tonestack.base.files import name_hash
from tonestack.config import layers
from tonestack.settings.data_config import Bounds, PseudoParams

import numpy as np
import pandas as pd

BLOCK = 1 << 14  # rows whose labels are encoded at once


def resolved(params: PseudoParams) -> PseudoParams:
    """Fill in the regime's keys; keys that were given take precedence."""
    if params.regime is None:
        return params
    place, values = layers.layer("pseudo", params.regime)
    given = params.model_dump(include=params.model_fields_set)
    return PseudoParams.parse(values | given, place)


def bound(schedule: Bounds, number: int, rounds: int) -> float:
    """Return the bound of a round: linear from the first (1) to the last; a single round takes the start."""
    first, last = schedule
    return first + (last - first) * (number - 1) / max(rounds - 1, 1)


def chosen(p: np.ndarray, lower: float, upper: float, given: np.ndarray | None = None) -> np.ndarray:
    """Mask (n,) of rows whose largest probability is within the bounds; its class must be in `given` (n, C), if any.

    Rows of NaN (clips without a prediction) are never chosen.
    """
    best = p.max(axis=1)
    inside: np.ndarray = (best >= lower) & (best <= upper)
    return inside if given is None else inside & given[np.arange(len(p)), p.argmax(axis=1)]


def teaching(clip_ids: Sequence[str], position: int, holdouts: int, number: int) -> np.ndarray:
    """Mask (n,) of test clips to train a holdout's model on (the `position`-th of `holdouts`) in round `number`.

    A clip is used in about half of the holdouts, in the next round in the others, never in all; with one, in none.
    """
    if holdouts == 1:
        return np.zeros(len(clip_ids), bool)
    part = np.array([name_hash(name) for name in clip_ids]) % holdouts
    early: np.ndarray = (part - position) % holdouts < holdouts // 2
    return early if number % 2 else ~early


def rows_of(
    ids: Sequence[str], p: np.ndarray, holdout: int, source: str, weight: float, classes: Sequence[str], task: str
) -> pd.DataFrame:
    """Return revision rows of clips with predictions p (n, C); class columns hold the probabilities."""
    label = tasks.find(task).labels_of(p, tuple(classes))
    rows = pd.DataFrame({"clip_id": list(ids), "holdout": holdout, "label": label, "weight": weight, "source": source})
    return pd.concat([rows, pd.DataFrame(p.astype(np.float32).round(6), columns=list(classes))], axis=1)


def hardened(rows: Sequence[pd.DataFrame], classes: Sequence[str], soft: bool, task: str) -> pd.DataFrame:
    """Join pieces of rows without their class columns, or fill these in (0 and 1) for rows that have none.

    Class columns are float32 and are filled piece by piece: there can be some hundred of them, and a million rows.
    """
    columns = list(classes)
    plain = pd.concat([piece.drop(columns=columns, errors="ignore") for piece in rows], ignore_index=True)
    if not soft:
        return plain
    values, start = np.empty((len(plain), len(columns)), dtype=np.float32), 0
    for piece in rows:
        here = values[start : start + len(piece)]
        here[:] = piece.reindex(columns=columns).to_numpy(np.float32)
        blank = np.flatnonzero(np.isnan(here).any(axis=1))
        for block in np.array_split(blank, max(1, len(blank) // BLOCK)):
            own = tasks.find(task).targets(piece["label"].iloc[block], tuple(classes))
            here[block] = np.where(np.isnan(here[block]), own, here[block])
        start += len(piece)
    return pd.concat([plain, pd.DataFrame(values, columns=columns)], axis=1)


def check(params: PseudoParams) -> PseudoParams:
    """Refuse bounds that no clip can meet, and warm starts that would undo cross-fitting."""
    if params.start == "warm" and params.cross_fit and params.test:
        raise UserError(
            "pseudo: a warm start keeps what was learnt from test clips in the next round; "
            "give pseudo.start=scratch or pseudo.cross_fit=false"
        )
    for number in range(1, params.rounds + 1):
        low, high = bound(params.lower, number, params.rounds), bound(params.upper, number, params.rounds)
        if not 0 <= low < high <= 1:
            raise UserError(
                f"pseudo: round {number} asks for probabilities from {low:.3g} to {high:.3g}; fix lower or upper"
            )
    return params
