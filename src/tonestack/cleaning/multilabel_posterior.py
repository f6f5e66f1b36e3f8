"""Posterior of every class from model predictions and crowd labels, for clips of several labels.

The models' log odds are calibrated on verified clips (Platt 1999). The given labels count as one annotator with two
rates, estimated from the unverified clips by expectation maximisation (Dawid & Skene 1979): the share of present
classes that are named, and of absent ones. Classes are independent and share the rates. `methods.agree` is the
counterpart for clips of one label.
"""

from tonestack.tables.label_grammar import UNKNOWN

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

FLOOR = 1e-6
STEPS = 200
TOLERANCE = 1e-7


def posterior(p: np.ndarray, given: np.ndarray, verified: np.ndarray) -> np.ndarray:
    """Return probabilities (n, C) of every class from predictions p (n, C) and given labels (n, C) of 0, 1, `UNKNOWN`.

    verified: (n,), clips whose given labels are right; these stay as they are. Of an unknown class the models alone
    speak.
    """
    odds, known = logit(np.clip(p, FLOOR, 1 - FLOOR)), given != UNKNOWN
    right, crowd = known & verified[:, None], known & ~verified[:, None]
    if right.any():
        odds = calibrated(odds, odds[right], given[right])
    named, invented = rates(expit(odds[crowd]), given[crowd])
    evidence = np.where(given == 1, np.log(named / invented), np.log((1 - named) / (1 - invented)))
    return np.where(right, given, expit(odds + np.where(known, evidence, 0)))


def calibrated(odds: np.ndarray, known: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return a·odds + b, with a > 0 and b of least log loss on cells of `known` odds and `truth`, of one shape."""

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        scale = np.exp(free[0])
        x = scale * known + free[1]
        slope = expit(x) - truth
        return float((np.logaddexp(0, x) - truth * x).mean()), np.array([(slope * scale * known).mean(), slope.mean()])

    free = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B").x
    return np.exp(free[0]) * odds + free[1]


def rates(p: np.ndarray, given: np.ndarray) -> tuple[float, float]:
    """Estimate how often the crowd names a present and an absent class, from predictions p and labels (cells,)."""
    if not len(p):
        return 0.9, 0.1
    named, invented = 0.8, 0.05
    for _ in range(STEPS):
        there = p * np.where(given == 1, named, 1 - named)
        absent = (1 - p) * np.where(given == 1, invented, 1 - invented)
        share = there / np.maximum(there + absent, FLOOR)
        before = named, invented
        named = float(np.clip((share * given).sum() / share.sum(), FLOOR, 1 - FLOOR))
        invented = float(np.clip(((1 - share) * given).sum() / (1 - share).sum(), FLOOR, 1 - FLOOR))
        if max(abs(named - before[0]), abs(invented - before[1])) < TOLERANCE:
            break
    return named, invented
