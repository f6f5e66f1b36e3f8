"""Self-verification (2nd place of FSDKaggle2018): promote clips whose given label is predicted.

A round promotes the unverified clips whose given label is the pair models' first choice with a probability above the
threshold, the surest first, at most `most` per class. The next round's pair models are trained on them, too
(`clean.rounds`).
"""

from tonestack.base.section import Section
from tonestack.cleaning.methods import Evidence, verdict
from tonestack.tables.decisions import LEAVE, Verdict

import numpy as np
from pydantic import Field

NEEDS = "probabilities"


class Params(Section):
    """The published values."""

    threshold: float = Field(0.95, ge=0, le=1, description="probability of the given label at which a clip is verified")
    most: int = Field(40, ge=1, description="new clips per class and round")


def decide(evidence: Evidence, params: Params) -> Verdict:
    """Promote the surest clips; nothing is relabelled or dropped."""
    p = evidence.predicted()
    confidence = p[np.arange(len(p)), evidence.given]
    fit = (p.argmax(axis=1) == evidence.given) & (confidence >= params.threshold)
    keep = evidence.promoted.copy()
    new = np.flatnonzero(fit & ~evidence.verified & ~keep)
    for label in np.unique(evidence.given[new]):
        rows = new[evidence.given[new] == label]
        keep[rows[np.argsort(-confidence[rows], kind="stable")[: params.most]]] = True
    return verdict(evidence, keep, evidence.given, confidence, np.zeros(len(p), bool), LEAVE)
