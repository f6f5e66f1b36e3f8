"""Decisions on labels: by method, by group of classes, by people; t-SNE pictures before and after."""

from pathlib import Path

from tonestack.labels import corrections
from tonestack.labels.revisions import SHOWN
from tonestack.report.blocks import Block, PictureBlock, TableBlock, Tabs, Text
from tonestack.report.material import Material

import pandas as pd

TITLE, ORDER = "Labels", 90


def blocks(material: Material) -> list[Block]:
    """Return corrections, decisions, one table per method, t-SNE pictures."""
    folder, shown = material.folder, list[Block]()
    if len(material.corrections):
        shown.append(Text(people(material.corrections)))
    decided = material.csv(material.call.folds / "decisions.csv", SHOWN)
    if decided is not None:
        shown.append(decisions(decided))
    for path in sorted(folder.glob("clean-*.csv")):
        table = material.csv(path)
        if table is not None:
            name = path.stem.removeprefix("clean-")
            shown.append(TableBlock.of(f"Cleaning method {name}: clips by group of their given label", table))
    drawn = {path.stem.removeprefix("tsne-"): tsne(folder, path) for path in material.pictures("tsne-*.png")}
    return [*shown, Tabs("t-SNE before and after cleaning", {**drawn})] if drawn else shown


def people(corrected: pd.DataFrame) -> str:
    """Return the number of labels that people have corrected."""
    count = corrected["decision"].value_counts()
    said = ", ".join(f"{int(count.get(name, 0))} {name}" for name in corrections.DECISIONS)
    return f"Labels corrected by people ({said}) stand above every method's decision."


def decisions(decided: pd.DataFrame) -> TableBlock:
    """The chosen revision's decisions on unverified clips, by class."""
    unverified = decided[decided["verified"].astype(int) == 0]
    count = pd.crosstab(unverified["given_label"], unverified["decision"].fillna(""))
    frame = count.rename_axis("Given label").reset_index()
    name = decided["revision"].iloc[0]
    return TableBlock.of(f"Decisions of the chosen revision {name} on unverified clips", frame)


def tsne(folder: Path, path: Path) -> PictureBlock:
    """Return a picture that cleaning has drawn."""
    method, _, group = path.stem.removeprefix("tsne-").partition("-")
    alt = f"t-SNE of the clips of group {group}: left by given label, right the clips that {method} keeps or relabels."
    return PictureBlock.of(folder, path, alt, f"{method}, {group}: given labels, and what was kept")
