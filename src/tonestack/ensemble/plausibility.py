"""Tables whose OOF rows are too good to be true: their model has probably been trained on the clips it predicts.

Such a table makes few mistakes on OOF rows and is sure of itself there. On test rows it is a model like the others, and
agrees with them less than on OOF rows. A table that is really better agrees with the others alike on both. Test clips
may be harder: rows are compared on which the other tables agree alike with each other, and a table is suspicious if its
agreement falls far more than twice as much as that of the others.
"""

from tonestack.ensemble import resampling
from tonestack.ensemble.tables import Tables
from tonestack.tables.metrics import UNKNOWN

import numpy as np

ROWS = 2000  # of each part, drawn at random
LARGE = 1 << 28  # bytes of scored rows beyond which tables are not read once more for this
BINS = 10
LEAST = 0.04  # fall of the agreement that is worth a note
ERROR = 0.7  # the table's mean error, as a share of the others', below which it is very good


def notes(tables: Tables) -> list[str]:
    """Return a note for each suspicious table; with fewer than three tables or without test rows there is none."""
    if len(tables.names) < 3 or not tables.probabilities or not tables.test_ids or tables.without_oof():
        return []
    problem = tables.problem()
    if problem.tables.nbytes > LARGE or any(not tables.facts(name).test_folds for name in tables.names):
        return []
    kept, drawn = _some(len(problem.targets), 0), _some(len(tables.test_ids), 1)
    test = np.stack([tables.test(name)[drawn] for name in tables.names])
    some = problem.rows(kept)
    found = suspicious(some.tables, test, some.targets, tables.normalise, some.groups)
    return [
        f"{tables.names[m]}: too good on its OOF rows? Its error there is {own:.3f}, that of the other tables "
        f"{others:.3f}, but on test rows it agrees with them by {fall:.2f} less than it should. Check that none of its "
        "models was trained on the clips that it predicts there"
        for m, own, others, fall in found
    ]


def suspicious(
    rows: np.ndarray, test: np.ndarray, targets: np.ndarray, one_label: bool, groups: np.ndarray | None = None
) -> list[tuple[int, float, float, float]]:
    """Return suspicious tables: number, own mean error, that of the others, and the excess fall of its agreement.

    rows (M, n, C): OOF predictions, M >= 3; test (M, t, C); targets of the n clips; groups (n,) of them.
    """
    errors, every = _errors(rows, targets), range(len(rows))
    there, beyond = _agreement(rows, one_label), _agreement(test, one_label)  # (2, M, n), (2, M, t)
    falls = [_fall(there[:, m], beyond[:, m], groups) for m in every]
    found = []
    for m in every:
        others = np.delete(errors, m, axis=0).mean(axis=0)
        gap, gap_se = _mean(others - errors[m], groups)
        usual = float(np.median([falls[j][0] for j in every if j != m]))
        fall = falls[m][0] - 2 * max(usual, 0.0)  # where test clips are harder, the better tables' falls are larger
        if fall > max(LEAST, 4 * falls[m][1]) and gap > max((1 - ERROR) * others.mean(), 3 * gap_se):
            found.append((m, float(errors[m].mean()), float(others.mean()), fall))
    return found


def _fall(there: np.ndarray, beyond: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    """How much less a table agrees with the others on test rows (2, t) than on OOF rows (2, n), and its error.

    The first row of each is the table's agreement, the second the others' with each other. OOF rows count as much as
    there are test rows with the like of the latter.
    """
    edges = np.quantile(there[1], np.linspace(0, 1, BINS + 1)[1:-1])
    one, two = np.searchsorted(edges, there[1]), np.searchsorted(edges, beyond[1])
    size, wanted = np.bincount(one, minlength=BINS), np.bincount(two, minlength=BINS)
    inside = np.bincount(one, there[0], BINS) / np.maximum(size, 1)
    outside = np.bincount(two, beyond[0], BINS) / np.maximum(wanted, 1)
    both = np.where((size > 0) & (wanted > 0), wanted, 0)
    share = both / max(both.sum(), 1)
    weight = (share / np.maximum(size, 1))[one] * len(one)
    inside_se = resampling.standard_error(weight * (there[0] - inside[one]), None, groups)
    outside_se = resampling.standard_error(beyond[0] - outside[two])
    return float(share @ (inside - outside)), float(np.hypot(inside_se, outside_se))


def _errors(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Soft errors (M, n): 1 less the true class's probability; with several labels the mean distance from 0 and 1."""
    if targets.ndim == 1:
        return np.asarray(1 - rows[:, np.arange(len(targets)), targets])
    known = targets != UNKNOWN
    return np.asarray((np.abs(rows - targets) * known).sum(axis=2) / np.maximum(known.sum(axis=1), 1))


def _agreement(rows: np.ndarray, one_label: bool) -> np.ndarray:
    """How much each table agrees with the others, and how much these agree with each other (2, M, n).

    Two tables agree on a clip by the probability that labels drawn from them are the same; with several labels, by
    the products of their distances from each class's mean, 1 for two tables that both know all labels.
    """
    count = len(rows)
    if not one_label:
        share = rows.mean(axis=(0, 1))
        rows = (rows - share) / np.sqrt(np.maximum((share * (1 - share)).sum(), 1e-9))
    pairs = np.einsum("inc,jnc->nij", rows, rows, optimize=True)
    pairs[:, np.arange(count), np.arange(count)] = 0
    own = pairs.sum(axis=2)  # (n, M)
    rest = own.sum(axis=1, keepdims=True) / 2 - own
    return np.stack([own.T / (count - 1), rest.T / ((count - 1) * (count - 2) / 2)])


def _mean(values: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    return float(values.mean()), resampling.standard_error(values, None, groups)


def _some(count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(count)[:ROWS])
