"""The clips of the audit page: those with the most doubtful labels, worst first."""

from typing import Any

from tonestack.labels.revisions import SHOWN
from tonestack.report.material import Material
from tonestack.tables.decisions import RELABEL

import numpy as np
import pandas as pd

GUESSES = 3  # of the ensemble, shown beside each clip


def table(material: Material) -> pd.DataFrame:
    """Return the clips to audit, most doubtful first: `number, clip_id, given, verified, proposed, doubt`, then one
    column a method: its confidence in the given label, 0..1, NaN where it has none.

    Doubt is one less the mean confidence of the cleaning methods; without them, one less the ensemble's probability of
    the given label. The proposal is the methods' label, else the ensemble's first choice; '' where that is the given.
    """
    folds = material.folds
    found = pd.DataFrame({"number": range(len(folds)), "clip_id": folds["clip_id"], "given": folds["label"]})
    found["verified"] = folds["verified"].to_numpy(bool)
    methods, proposed = decided(material)
    ensemble, choice = predicted(material)
    evidence = methods if len(methods.columns) else ensemble
    found["proposed"] = [p if p and p != g else c for p, c, g in zip(proposed, choice, found["given"], strict=True)]
    found["proposed"] = found["proposed"].where(found["proposed"] != found["given"], "")
    found["doubt"] = 1 - evidence.mean(axis=1).to_numpy(float) if len(evidence.columns) else np.nan
    found = pd.concat([found, methods, ensemble], axis=1)
    usable = (material.clips["status"].iloc[: len(folds)] != "bad").to_numpy() & found["doubt"].notna().to_numpy()
    return found[usable].sort_values(["doubt", "clip_id"], ascending=[False, True]).reset_index(drop=True)


def decided(material: Material) -> tuple[pd.DataFrame, list[str]]:
    """Return the cleaning methods' confidences, one column each, and their proposals ('' for none), in r0's order."""
    nothing = pd.DataFrame(index=range(len(material.folds))), [""] * len(material.folds)
    decisions = material.csv(material.call.folds / "decisions.csv", SHOWN)
    if decisions is None:
        return nothing
    aligned = decisions.set_index("clip_id").reindex(material.folds["clip_id"]).reset_index(drop=True)
    current = (aligned["given_label"] == material.folds["label"]).to_numpy()
    names = [name for name in aligned.columns if name not in SHOWN]
    methods = aligned[names].astype(float).where(pd.Series(current), axis=0)
    proposed = aligned["proposed_label"].where(aligned["decision"] == RELABEL).where(pd.Series(current)).fillna("")
    return methods, [str(label) for label in proposed]


def predicted(material: Material) -> tuple[pd.DataFrame, list[str]]:
    """Return the best table's probability of the given label, in a column of its name, and its first choices."""
    best, count = material.best, len(material.folds)
    if best is None or not material.one_label:
        return pd.DataFrame(index=range(count)), [""] * count
    there = np.isfinite(best.train).all(axis=1)
    first = np.where(there, np.nan_to_num(best.train).argmax(axis=1), -1)
    given = best.train[np.arange(count), material.targets]
    return pd.DataFrame({best.name: given.astype(float)}), [material.classes[c] if c >= 0 else "" for c in first]


def guesses(material: Material, number: int) -> list[tuple[str, float]]:
    """The best table's first choices of one clip, with their probabilities."""
    if material.best is None or not material.one_label or not np.isfinite(material.best.train[number]).all():
        return []
    p = material.best.train[number]
    return [(material.classes[c], round(float(p[c]), 3)) for c in np.argsort(-p, kind="stable")[:GUESSES]]


def entry(material: Material, row: Any, methods: list[str]) -> dict[str, Any]:
    """One clip as the audit page reads it, without its sound."""
    confidence = [None if pd.isna(row[name]) else round(float(row[name]), 3) for name in methods]
    return {
        "id": row["clip_id"],
        "given": row["given"],
        "verified": bool(row["verified"]),
        "proposed": row["proposed"],
        "confidence": confidence,
        "guesses": guesses(material, int(row["number"])),
    }
