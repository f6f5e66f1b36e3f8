"""The words of label work: decisions on clips, and the sources of a revision's rows."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

KEEP, RELABEL, DROP, LEAVE = "keep", "relabel", "drop", "leave"
DECISIONS = (LEAVE, DROP, RELABEL, KEEP)  # a tie between holdouts goes to the more careful one
NOT_ASKED = ""  # the decision on a clip of the holdout's own fold


class Source(StrEnum):
    """Origin of the label of a revision's row: the words of its column `source`."""

    VERIFIED = "verified"  # given and checked by the competition
    GIVEN = "given"  # given, checked by nobody
    CORRECTED = "corrected"  # a person's correction
    PROMOTED = "promoted"  # given, kept by a cleaning method
    RELABELLED = "relabelled"  # changed by a cleaning method
    PSEUDO = "pseudo"  # predicted for an unverified training clip
    PSEUDO_TEST = "pseudo_test"  # predicted for a test clip


TRUSTED = (Source.VERIFIED, Source.CORRECTED, Source.PROMOTED, Source.RELABELLED)  # pseudo-label rounds keep these


@dataclass(frozen=True)
class Verdict:
    """Decisions on n clips: decision (n,) text, proposed (n,) classes, confidence (n,) in the given label, 0..1.

    soft: class probabilities (n, C) to train on instead of one label, or None.
    """

    decision: np.ndarray
    proposed: np.ndarray
    confidence: np.ndarray
    soft: np.ndarray | None = None
