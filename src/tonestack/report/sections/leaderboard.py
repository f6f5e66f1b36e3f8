"""Every table's cross-validated score, test scores and cost."""

from tonestack.report.blocks import Block, Cell, TableBlock, Text
from tonestack.report.material import Material

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
    return [TableBlock.of(caption, frame)]
