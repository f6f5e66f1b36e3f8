"""Confident learning (Northcutt, Jiang & Chuang 2021) with cleanlab, on predictions of pair models."""

from typing import Any, Literal

from tonestack.base.section import Section
from tonestack.cleaning.methods import Evidence, verdict
from tonestack.tables.decisions import Verdict

import numpy as np
from pydantic import Field

NEEDS = "probabilities"


class Params(Section):
    """cleanlab's settings, and the decision on clips that it finds."""

    filter_by: Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning"] = Field(
        "prune_by_noise_rate", description="cleanlab's rule that finds label errors"
    )
    score: Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"] = Field(
        "self_confidence", description="cleanlab's score by which the errors are ranked"
    )
    relabel: float | None = Field(None, ge=0, le=1, description="least probability of the new label; none: never")
    rest: Literal["drop", "leave"] = Field(
        "leave", description="clips whose label is found wrong: dropped, or left unverified"
    )


def decide(evidence: Evidence, params: Params) -> Verdict:
    """Relabel, drop or leave the unverified clips that cleanlab calls label issues."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    p = evidence.predicted().astype(np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    known = np.unique(evidence.given)  # cleanlab counts classes that have labels
    position = np.searchsorted(known, evidence.given)
    seen: Any = p[:, known] / np.maximum(p[:, known].sum(axis=1, keepdims=True), 1e-12)
    issue = find_label_issues(position, seen, filter_by=params.filter_by, n_jobs=1)
    confidence = get_label_quality_scores(position, seen, method=params.score)
    proposed = p.argmax(axis=1)
    sure = np.zeros(len(p), bool) if params.relabel is None else p.max(axis=1) >= params.relabel
    return verdict(evidence, ~issue, proposed, confidence, sure & (proposed != evidence.given), params.rest)
