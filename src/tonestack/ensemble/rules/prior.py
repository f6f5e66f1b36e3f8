"""The mix of classes: where verified clips have another one than training clips, test clips have that of the verified.

Organisers verify a part of the training clips, and all test clips, by the same hands (FSDKaggle2018: the mixes of
verified and of all training clips differ by a total variation of .18, those of verified and test clips by .01). A
network learns how frequent a class is in what it is trained on. The rule multiplies a class's probability by the ratio
of its shares to a power (Saerens, Latinne and Decaestecker, 2002). Nested cross-validation chooses the power by log
loss; it may be 0. Shares of a few hundred verified clips are partly luck, so they are drawn towards those of the
training clips by as much as the counts themselves suggest (the Dirichlet prior of largest likelihood).
"""

from dataclasses import dataclass

from tonestack.tables.oof import FLOOR

import numpy as np
from scipy.special import gammaln

POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
STRENGTHS = np.geomspace(1, 1e6, 61)  # of the Dirichlet prior, in clips
LEAST = 0.02  # of a factor's logarithm, for a table to be another one


@dataclass(frozen=True)
class PriorRule:
    """Multiplies the probabilities of each class by a factor (C,)."""

    factors: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows (..., C), normalised again."""
        made = rows * self.factors.astype(np.float32)
        result: np.ndarray = made / made.sum(axis=-1, keepdims=True)
        return result

    @property
    def changes(self) -> bool:
        """True if some factor is not about 1: counts that luck explains give factors of 1.0001."""
        return bool((np.abs(np.log(self.factors)) > LEAST).any())


def ratios(targets: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Ratio (C,) of the shares of verified clips with class indices `targets` (n,) to the shares `trained` (C,)."""
    counts = np.bincount(targets, minlength=len(trained))
    alphas = STRENGTHS[:, None] * trained
    likelihood = gammaln(STRENGTHS) - gammaln(STRENGTHS + counts.sum())
    likelihood += (gammaln(alphas + counts) - gammaln(alphas)).sum(axis=1)
    alpha = alphas[likelihood.argmax()]
    shares = (counts + alpha) / (counts + alpha).sum()
    result: np.ndarray = shares / trained
    return result


def choose(
    rows: np.ndarray, targets: np.ndarray, part: np.ndarray, trained: np.ndarray
) -> tuple[PriorRule, np.ndarray]:
    """Return the rule of all verified clips, and nested rows (n, C): each part's by the rule of the other parts.

    rows: OOF rows (n, C) of the verified clips; targets (n,): their class indices; part (n,): the parts to nest over;
    trained (C,): shares of the classes in what the networks learned from, none of them 0.
    """
    nested = np.empty_like(rows)
    for k in np.unique(part):
        nested[part == k] = _fit(rows, targets, part, trained, part != k)(rows[part == k])
    return _fit(rows, targets, part, trained, np.ones(len(part), dtype=bool)), nested


def _fit(rows: np.ndarray, targets: np.ndarray, part: np.ndarray, trained: np.ndarray, keep: np.ndarray) -> PriorRule:
    """The rule of some of the clips (mask); the power is that of least log loss where shares are of the other parts."""
    losses = np.zeros(len(POWERS))
    for j in np.unique(part[keep]):
        inside = keep & (part == j)
        others = ratios(targets[keep & (part != j)], trained)
        for i, power in enumerate(POWERS):
            p = PriorRule(others**power)(rows[inside])
            losses[i] -= np.log(np.maximum(p[np.arange(inside.sum()), targets[inside]], FLOOR)).sum()
    return PriorRule(ratios(targets[keep], trained) ** POWERS[int(np.round(losses, 6).argmin())])
