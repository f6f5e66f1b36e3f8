"""ESC-50 and ESC-10 (K. Piczak): `meta/esc50.csv` and `audio/`, with their official five folds; no test set.

Clips cut from one Freesound recording (`src_file`) are a group; the official folds keep groups whole.
"""

from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition

import pandas as pd
from pydantic import Field


class Params(Section):
    """Reader settings. `subset`: `all` 50 classes, the 10 of ESC-10, or `auto`: whatever the csv has."""

    subset: Literal["auto", "all", "esc10"] = Field(
        "auto", description="all 50 classes, the 10 classes of ESC-10, or auto: all that the csv has"
    )


def read(params: Params, root: Path) -> Competition:
    """Read the csv below `root`; the audio may be absent."""
    source = root / "meta" / "esc50.csv"
    table = _subset(params, source)
    ids = csvs.clip_ids(table, "filename", source)
    labels = csvs.labels(table, "category", source)
    folds = csvs.integers(table, "fold", source)
    if min(folds) < 1:
        raise UserError(f"{source}: row {table.index[folds.index(min(folds))]}: official folds count from 1, not 0")
    paths = [csvs.clip_path("audio", i) for i in ids]
    train = csvs.train_frame(ids, paths, labels, True, list(table["src_file"]), [fold - 1 for fold in folds])
    return Competition(root, train, csvs.test_frame([], []), tuple(sorted(set(labels))), None)


def _subset(params: Params, source: Path) -> pd.DataFrame:
    columns = ["filename", "fold", "category", "src_file"]
    if params.subset != "esc10":
        table = csvs.read_table(source, columns)
        if params.subset == "all" and table["category"].nunique() < 50:
            raise UserError(f"{source}: has {table['category'].nunique()} classes, not 50; say subset: auto or esc10")
        return table
    table = csvs.read_table(source, [*columns, "esc10"])
    table = table[csvs.flags(table, "esc10", source)]
    if table.empty:
        raise UserError(f"{source}: no row is marked esc10; say subset: all")
    return table
