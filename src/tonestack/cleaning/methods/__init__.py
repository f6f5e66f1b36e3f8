"""Cleaning methods: one file each, which decides clip by clip what one holdout may train on.

A method's module defines `Params`, `NEEDS` (`probabilities` or `embedding`) and
`decide(evidence, params) -> Verdict`. It is asked once a holdout and is shown nothing of that holdout's fold:
neither its clips nor anything that was decided or trained with their labels.
"""

from dataclasses import dataclass

from tonestack.tables.decisions import KEEP, RELABEL, Verdict

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """What one holdout's decisions are made from: its n training clips.

    given (n,): class indices as given. verified (n,). promoted (n,): kept by an earlier round of the same method.
    group (n,): the given class's group; group_of (C,): of each class. probabilities: (n, C) of models that saw
    neither the clip's fold nor the holdout, or None. embedding: (n, D) or None; NaN rows have no audio.
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
        """The probabilities, for a method that said it needs them."""
        if self.probabilities is None:
            raise ValueError("this method needs probabilities")
        return self.probabilities

    def embedded(self) -> np.ndarray:
        """The embedding, for a method that said it needs it."""
        if self.embedding is None:
            raise ValueError("this method needs an embedding")
        return self.embedding


def verdict(
    evidence: Evidence, keep: np.ndarray, proposed: np.ndarray, confidence: np.ndarray, relabel: np.ndarray, rest: str
) -> Verdict:
    """Put masks into words: verified clips are kept with their label, then `keep`, then `relabel`, else `rest`."""
    decision = np.where(relabel, RELABEL, rest).astype(object)
    decision[keep | evidence.verified] = KEEP
    changed = decision == RELABEL
    return Verdict(decision, np.where(changed, proposed, evidence.given), np.where(evidence.verified, 1.0, confidence))


def group_index(classes: tuple[str, ...], groups: dict[str, list[str]]) -> np.ndarray:
    """Group number (C,) of each class; classes that no group names are a group of their own."""
    number = {name: i for i, names in enumerate(groups.values()) for name in names}
    return np.array([number.get(name, len(groups)) for name in classes])
