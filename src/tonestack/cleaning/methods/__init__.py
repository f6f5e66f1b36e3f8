"""Cleaning methods, one file each: they decide, clip by clip, the training labels of one holdout.

A method's module defines `Params`, `NEEDS` (`probabilities` or `embedding`) and
`decide(evidence, params) -> Verdict`. It runs once per holdout and gets nothing of that holdout's fold:
neither its clips nor anything decided or trained with their labels.
"""

from dataclasses import dataclass

from tonestack.tables.decisions import KEEP, RELABEL, Verdict

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """The evidence on the n training clips of one holdout.

    given (n,): class indices as given. verified (n,). promoted (n,): with their given label, by the revision before.
    group (n,): the given class's group; group_of (C,): of each class. probabilities: (n, C) of models trained
    without the clip's fold and the holdout, or None. embedding: (n, D) or None; NaN rows have no audio.
    """

    given: np.ndarray
    verified: np.ndarray
    promoted: np.ndarray
    group_of: np.ndarray
    probabilities: np.ndarray | None = None
    embedding: np.ndarray | None = None

    @property
    def group(self) -> np.ndarray:
        """Group of each clip's given label (n,)."""
        groups: np.ndarray = self.group_of[self.given]
        return groups

    def predicted(self) -> np.ndarray:
        """Return the probabilities; for methods with `NEEDS = "probabilities"`."""
        if self.probabilities is None:
            raise ValueError("this method needs probabilities")
        return self.probabilities

    def embedded(self) -> np.ndarray:
        """Return the embedding; for methods with `NEEDS = "embedding"`."""
        if self.embedding is None:
            raise ValueError("this method needs an embedding")
        return self.embedding


def verdict(
    evidence: Evidence, keep: np.ndarray, proposed: np.ndarray, confidence: np.ndarray, relabel: np.ndarray, rest: str
) -> Verdict:
    """Turn masks into decisions: verified clips are kept with their label, then `keep`, then `relabel`, else `rest`."""
    decision = np.where(relabel, RELABEL, rest).astype(object)
    decision[keep | evidence.verified] = KEEP
    changed = decision == RELABEL
    return Verdict(decision, np.where(changed, proposed, evidence.given), np.where(evidence.verified, 1.0, confidence))


def group_index(classes: tuple[str, ...], groups: dict[str, list[str]]) -> np.ndarray:
    """Return the group number (C,) of each class; classes in no group form one more group."""
    number = {name: i for i, names in enumerate(groups.values()) for name in names}
    return np.array([number.get(name, len(groups)) for name in classes])
