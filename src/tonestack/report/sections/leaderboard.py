"""Every table's cross-validated score, test scores and cost."""

from tonestack.report.blocks import Block, Cell, TableBlock, Text
from tonestack.report.material import Material

import numpy as np
import pandas as pd

TITLE, ORDER = "Leaderboard", 10


def blocks(material: Material) -> list[Block]:
    """One sortable table."""
    board = material.board
    if board.empty:
        return [Text("No experiment is finished yet.")]
    names = [
        Cell(name, name, "submitted" if name == material.submitted else "") for name in board["experiment"].astype(str)
    ]
    frame = pd.DataFrame(
        {
            "Table": names,
            "Kind": board["kind"],
            "CV": board["cv"].astype(float),
            "± se": board["cv_se"].astype(float),
            "Public": board["public"].astype(float),
            "Private": board["private"].astype(float),
            "Seconds": [Cell.of(None if pd.isna(s) else round(s)) for s in board["seconds"]],
            "Parameters": [Cell.of(None if pd.isna(p) else int(p)) for p in board["params"]],
        }
    )
    caption = (
        f"{material.metric.name}; CV is cross-validation on verified clips with their given labels, nested for blends "
        "and stacks; Public and Private are test scores"
    )
    doubt = at_chance(material)
    return [TableBlock.of(caption, frame), *([Text(doubt)] if doubt else [])]


def at_chance(material: Material) -> str:
    """Say that the best score is no better than what the classes' shares alone give; empty if it is, or not known."""
    board = material.board[material.board["cv"].notna()]
    rows = np.flatnonzero(material.folds["verified"].to_numpy(dtype=bool))
    if board.empty or not material.one_label or len(rows) == 0:
        return ""
    targets = material.targets[rows]
    share = np.bincount(targets, minlength=len(material.classes)) / len(targets)
    chance = float(material.metric(np.tile(share, (len(rows), 1)), targets))
    best, spread = float(board["cv"].iloc[0]), float(np.nan_to_num(board["cv_se"].iloc[0]))
    if material.metric.sign * (best - chance) > 2 * spread:
        return ""
    return (
        f"The best CV, {best:.4f}, is at chance: the classes' shares alone score {chance:.4f}. Labels that are not "
        "those of the recordings, or recordings that could not be read as they should, are the likeliest reasons."
    )
