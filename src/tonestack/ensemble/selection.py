"""Choose one of several tables with nested rows: a proper score decides among those that the metric cannot tell apart.

The metric of a few hundred clips has few values (MAP@3 has four per clip), and the best of many candidates is partly
the luckiest. So every candidate within two paired standard errors of the best metric stays, and the least log loss
decides, each candidate at the temperature that fits the other folds best: confidence is calibrated, order is not.

A table that averages the others goes first unless that log loss, too, is clearly against it: nested rows understate
stackers and their means, which learn from fewer clips there, and from predictions of one fold instead of all.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from tonestack.base.console import Bar, bar
from tonestack.ensemble import fold_levels, resampling
from tonestack.ensemble.nested_cv import CELLS, Resampled
from tonestack.tables.metrics import UNKNOWN, Metric, cells
from tonestack.tables.thresholds import Thresholds

import numpy as np

ERRORS = 2.0  # paired standard errors within which candidates count as equally good
FLOOR = 1e-6  # least probability: one confident mistake must not decide alone
TEMPERATURES = np.geomspace(0.2, 5.0, 41)


class Scored(Protocol):
    """A candidate: nested scores (N, C), and how much its fit chooses."""

    @property
    def name(self) -> str: ...
    @property
    def complexity(self) -> int: ...
    @property
    def scores(self) -> np.ndarray: ...


S = TypeVar("S", bound=Scored)
Losses = Callable[[np.ndarray], np.ndarray]  # some whole parts, as a mask of rows (N,) -> the rows' nested log losses


@dataclass(frozen=True)
class Selection(Generic[S]):
    """The chosen candidate, and the rows of a choice that is nested itself.

    scores (N, C): the rows of part k are those of the candidate chosen without part k. loss: the nested log loss of
    every candidate by name.
    """

    chosen: S
    scores: np.ndarray
    by_part: dict[int, str]
    loss: dict[str, float]


def select(
    candidates: Sequence[S],
    metric: Metric,
    targets: np.ndarray,
    part: np.ndarray,
    one_label: bool,
    groups: np.ndarray | None = None,
    thresholds: Thresholds | None = None,
    averages: Collection[str] = (),
    level: bool = False,
) -> Selection[S]:
    """Choose on all rows, and once more without each part (N,), by the rule of the module's text.

    groups: of the rows, whole in the resamples behind the standard errors; None where none are known. thresholds: of a
    metric of predicted labels, found without each part as well. averages: names of candidates that go first. level:
    rows of several candidates are joined at one level and scale per class.
    """
    limits = thresholds or Thresholds(metric, one_label, "half")
    losses = {c.name: losses_within(c.scores, targets, part, one_label) for c in candidates}
    every = np.ones(len(part), dtype=bool)
    parts = np.unique(part)
    with bar((1 + len(parts)) * len(candidates), "choice", "scores", brief=True) as shown:
        pick = partial(_pick, candidates, limits, targets, losses, part, groups, averages, shown)
        chosen = pick(every)
        scores, by_part = np.empty_like(chosen.scores), {}
        for k in parts:
            inside = part == k
            found = chosen if inside.all() else pick(~inside)
            apart = level and not one_label and found is not chosen
            joined = fold_levels.scaled_like(found.scores, chosen.scores) if apart else found.scores
            scores[inside] = joined[inside]
            by_part[int(k)] = found.name
    return Selection(chosen, scores, by_part, {name: float(loss(every).mean()) for name, loss in losses.items()})


def _pick(
    candidates: Sequence[S],
    limits: Thresholds,
    targets: np.ndarray,
    losses: dict[str, Losses],
    part: np.ndarray,
    groups: np.ndarray | None,
    averages: Collection[str],
    shown: Bar,
    rows: np.ndarray,
) -> S:
    """The candidate of least loss on `rows` (N,) among those that their metric cannot tell from the best.

    One of `averages` wins if it is among these and its loss cannot be told from the least. Temperatures are fitted on
    `rows` alone, so that a choice without a part knows nothing of it.
    """
    loss = {c.name: losses[c.name](rows) for c in candidates}
    truth, own, metric = targets[rows], None if groups is None else groups[rows], limits.metric
    decided = ((c.name, limits.nested(c.scores[rows], truth, part[rows])) for c in candidates)  # one at a time
    found: dict[str, Resampled] = {}
    for name, scores in decided:
        found[name] = Resampled.of(metric, scores, truth, 200, own)
        shown.update()
    best = max(candidates, key=lambda c: (metric.sign * found[c.name].value, -loss[c.name].mean()))
    close = [c for c in candidates if c is best or _close(found[best.name], found[c.name])]
    order = sorted(close, key=lambda c: (round(float(loss[c.name].mean()), 4), c.complexity, c.name))
    least = loss[order[0].name]
    return next((c for c in order if c.name in averages and not _worse(loss[c.name], least, own)), order[0])


def _close(best: Resampled, other: Resampled) -> bool:
    gap = best.gain(other)
    return gap.value <= max(ERRORS * gap.se, 1e-12)


def _worse(loss: np.ndarray, least: np.ndarray, groups: np.ndarray | None) -> bool:
    apart = loss - least
    return bool(apart.mean() > ERRORS * resampling.standard_error(apart, groups=groups))


def nested_losses(scores: np.ndarray, targets: np.ndarray, part: np.ndarray, one_label: bool) -> np.ndarray:
    """Log loss (N,) of every row at the temperature of least loss on the other parts.

    one_label: rows of scores (N, C) sum to one; else each class is a matter of its own and a row's loss is the sum
    over its known classes.
    """
    return losses_within(scores, targets, part, one_label)(np.ones(len(part), dtype=bool))


def losses_within(scores: np.ndarray, targets: np.ndarray, part: np.ndarray, one_label: bool) -> Losses:
    """Return a function from some whole parts, as a mask (N,), to `nested_losses` of their rows by these parts alone.

    The losses at every temperature are taken once, and summed by part.
    """
    if scores.shape[1] == 1:
        return lambda rows: _of_trials(scores[rows, 0], targets[rows], part[rows])
    truth, loss = cells(targets, scores.shape[1]), _softmaxed if one_label else _binary
    drawn = resampling.some(part, max(1, CELLS // scores.shape[1]))  # of very large tables, to find the temperatures by
    count, code = len(np.unique(part)), np.unique(part, return_inverse=True)[1]
    sums = np.stack(
        [np.bincount(code[drawn], loss(scores[drawn], truth[drawn], t), minlength=count) for t in TEMPERATURES]
    )  # (T, parts)

    def within(rows: np.ndarray) -> np.ndarray:
        kept, losses = np.unique(code[rows]), np.empty(len(scores))
        for k in kept:
            inside = code == k
            others = kept[kept != k] if len(kept) > 1 else kept
            best = TEMPERATURES[sums[:, others].sum(axis=1).argmin()]
            losses[inside] = loss(scores[inside], truth[inside], best)
        return losses[rows]

    return within


def _softmaxed(scores: np.ndarray, truth: np.ndarray, temperature: float) -> np.ndarray:
    logs = np.log(np.maximum(scores, FLOOR)) / temperature
    logs -= logs.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return -(logs * truth).sum(axis=1)


def _binary(scores: np.ndarray, truth: np.ndarray, temperature: float) -> np.ndarray:
    p = np.clip(scores, FLOOR, 1 - FLOOR)
    logits = (np.log(p) - np.log1p(-p)) / temperature
    losses = np.logaddexp(0, np.where(truth > 0, -logits, logits))
    return np.where(truth == UNKNOWN, 0, losses).sum(axis=1)


def _of_trials(scores: np.ndarray, targets: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Log loss (N,) of trial scores of any size, calibrated by logistic regression on the other parts."""
    from sklearn.linear_model import LogisticRegression  # a second; most calls have tables of probabilities

    losses = np.zeros(len(scores))
    for k in np.unique(part) if len(np.unique(targets)) > 1 else ():
        inside = part == k
        learn = ~inside if len(np.unique(targets[~inside])) > 1 else np.ones(len(part), dtype=bool)
        fitted = LogisticRegression(class_weight="balanced").fit(scores[learn, None], targets[learn])
        p = np.clip(fitted.predict_proba(scores[inside, None])[:, 1], FLOOR, 1 - FLOOR)
        losses[inside] = -np.log(np.where(targets[inside] == 1, p, 1 - p))
    return losses
