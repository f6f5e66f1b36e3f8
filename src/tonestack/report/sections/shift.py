"""Differences between training and test clips, as measured by `shift`."""

from typing import Any

from tonestack.base.files import read_json
from tonestack.report.blocks import Block, More, PictureBlock, TableBlock, Text
from tonestack.report.material import Material

import pandas as pd

TITLE, ORDER = "Shift", 125


def blocks(material: Material) -> list[Block]:
    """The comparisons, their picture, and the statistics that tell the sets apart."""
    folder = material.folder / "shift"
    if not (folder / "shift.json").is_file():
        return []
    found = read_json(folder / "shift.json", {"comparisons": list, "duplicates": dict, "across": dict})
    compared = pd.DataFrame([row(one) for one in found["comparisons"]])
    shown: list[Block] = [Text(twice(found))]
    if len(compared):
        said = "How well a classifier tells two sets of clips apart: area under the ROC curve, 0.5 is not at all"
        shown.insert(0, TableBlock.of(said, compared))
    alt = "; ".join(f"{' and '.join(one['sets'])}: {one['auc']}" for one in found["comparisons"])
    shown += [
        PictureBlock.of(material.folder, path, f"ROC curves ({alt}) and mean spectra of the sets.")
        for path in material.pictures("shift/shift.png")
    ]
    telling = material.csv(folder / "features.csv")
    if telling is not None:
        shown.append(
            More("What tells them apart", [TableBlock.of("The statistics that the classifiers used most", telling)])
        )
    return shown


def row(one: dict[str, Any]) -> dict[str, Any]:
    """A comparison's row."""
    first, second = one["sets"]
    clips, others = one["clips"]
    sizes = {"clips of the first": clips, "of the second": others}
    return {
        "sets": f"{first} / {second}",
        "AUC": one["auc"],
        "from": one["low"],
        "to": one["high"],
        "": one["verdict"],
    } | sizes


def twice(found: dict[str, dict[str, int]]) -> str:
    """Return a sentence on duplicates."""
    across, kinds = found["across"], found["duplicates"]
    return (
        f"{kinds['exact']} pairs of clips are the same recording, {kinds['near']} more nearly so; "
        f"{across['train-test']} of them lie across train and test, {across['folds']} across folds."
    )
