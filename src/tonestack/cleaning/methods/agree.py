"""Agreement: the posterior of the given label, from the predictions of pair models.

The probabilities are sharpened or softened by a temperature (Guo et al. 2017), fitted on the verified clips. The
given label then counts as one annotator: right with some rate, otherwise another label of its group or of the rest.
The three rates are estimated from the unverified clips by expectation maximisation (Dawid & Skene 1979), together with
a temperature of their own: unverified clips are often harder, and models are less often right on them. The clip's
confidence is the posterior of its given label. `multilabel_posterior` is the counterpart for clips of several labels.
"""

from dataclasses import replace
from typing import Literal

from tonestack.base.section import Section
from tonestack.cleaning.methods import Evidence, verdict
from tonestack.tables.decisions import Verdict

import numpy as np
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

NEEDS = "probabilities"
FLOOR = 1e-12
APART = 0.5  # how far log temperatures of verified and unverified clips lie apart before any clip has been seen
ROUNDS = 20


class Params(Section):
    """Thresholds on the confidence in the given label and in the best other one."""

    keep: float = Field(0.8, ge=0, le=1, description="confidence in the given label at which a clip is verified")
    relabel: float | None = Field(0.7, ge=0, le=1, description="least posterior of the new label; none: never")
    rest: Literal["drop", "leave"] = Field("leave", description="the other clips: dropped, or left unverified")
    soft: bool = Field(False, description="train on the posterior of all clips, not on decisions")
    calibrate: bool = Field(True, description="calibrate the probabilities on verified clips before they are compared")
    posterior: bool = Field(
        True, description="combine the given label with the model probabilities; false: the models alone"
    )


def decide(evidence: Evidence, params: Params) -> Verdict:
    """Keep, relabel or set aside each unverified clip."""
    p = np.maximum(evidence.predicted(), FLOOR)
    if params.calibrate and evidence.verified.any():
        first = temperature(p[evidence.verified], evidence.given[evidence.verified])
        own = second_temperature(p, evidence, first) if params.posterior and not evidence.verified.all() else first
        p = np.where(evidence.verified[:, None], sharpen(p, first), sharpen(p, own))
    if params.posterior and not evidence.verified.all():
        p = posterior(p, evidence.given, noise_rates(p, evidence), evidence.group_of)
    rows = np.arange(len(p))
    confidence = p[rows, evidence.given]
    others = p.copy()
    others[rows, evidence.given] = -1
    proposed = others.argmax(axis=1)
    relabel = np.zeros(len(p), bool) if params.relabel is None else others[rows, proposed] >= params.relabel
    made = verdict(evidence, confidence >= params.keep, proposed, confidence, relabel, params.rest)
    if not params.soft:
        return made
    certain = np.eye(p.shape[1])[evidence.given]
    return replace(made, soft=np.where(evidence.verified[:, None], certain, p))


def sharpen(p: np.ndarray, temperature: float) -> np.ndarray:
    """Return p^(1/T), rows (n, C) normalised."""
    logs = np.log(p) / temperature
    sharpened: np.ndarray = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    return sharpened


def temperature(p: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in 0.05..20 of least log loss of p (n, C) on labels (n,)."""
    logs, rows = np.log(p), np.arange(len(p))

    def surprise(log_t: float) -> float:
        scaled = logs / np.exp(log_t)
        return float((logsumexp(scaled, axis=1) - scaled[rows, labels]).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def second_temperature(p: np.ndarray, evidence: Evidence, first: float) -> float:
    """Return the temperature of p (n, C) on the unverified clips at which their given labels are likeliest.

    It is fitted in turn with the labels' noise rates. first: that of the verified clips, which few clips do not leave.
    """
    rows = ~evidence.verified
    given, logs, found = evidence.given[rows], np.log(p[rows]), first
    for _ in range(ROUNDS):
        rates = noise_rates(np.where(rows[:, None], sharpen(p, found), p), evidence)
        named = np.log(np.maximum(likelihood(rates, given, evidence.group_of), FLOOR))
        before, found = found, _likeliest(logs, named, first)
        if abs(np.log(found / before)) < 0.01:
            break
    return found


def _likeliest(logs: np.ndarray, named: np.ndarray, first: float) -> float:
    """The temperature of largest likelihood; logs: log p (n, C), named: log P(given label | class) (n, C)."""

    def surprise(log_t: float) -> float:
        scaled = logs / np.exp(log_t)
        each = logsumexp(scaled, axis=1) - logsumexp(scaled + named, axis=1)
        return float(each.sum() + 0.5 * ((log_t - np.log(first)) / APART) ** 2)

    return float(np.exp(minimize_scalar(surprise, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def likelihood(rates: np.ndarray, given: np.ndarray, group_of: np.ndarray) -> np.ndarray:
    """Return P(given label | true class), (n, C), by rates (3,): right, another of the class's group, any other."""
    size = np.bincount(group_of)[group_of]  # (C,) classes in each class's group
    within = rates[1] / np.maximum(size - 1, 1)
    across = rates[2] / np.maximum(len(group_of) - size, 1)
    table = np.where(group_of[given][:, None] == group_of, within, across)
    table[np.arange(len(given)), given] = rates[0]
    return table


def posterior(p: np.ndarray, given: np.ndarray, rates: np.ndarray, group_of: np.ndarray) -> np.ndarray:
    """Return P(true class | sound, given label), (n, C)."""
    joint = p * np.maximum(likelihood(rates, given, group_of), FLOOR)
    normal: np.ndarray = joint / joint.sum(axis=1, keepdims=True)
    return normal


def noise_rates(p: np.ndarray, evidence: Evidence, rounds: int = 100) -> np.ndarray:
    """Estimate rates (3,) of the unverified labels: right, wrong within the group, wrong across groups."""
    rows = np.flatnonzero(~evidence.verified)
    given, group_of = evidence.given[rows], evidence.group_of
    same = np.arange(len(group_of)) == given[:, None]
    within = (group_of[given][:, None] == group_of) & ~same
    rates = np.array([0.7, 0.2, 0.1])
    for _ in range(rounds):
        now = posterior(p[rows], given, rates, group_of)
        mass = np.array([now[same].sum(), now[within].sum(), now[~same & ~within].sum()]) + 0.1  # never exactly 0
        if np.abs(mass / mass.sum() - rates).max() < 1e-6:
            break
        rates = mass / mass.sum()
    return rates
