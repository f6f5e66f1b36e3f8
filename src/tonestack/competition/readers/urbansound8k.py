"""UrbanSound8K (Salamon, Jacoby and Bello 2014): `metadata/UrbanSound8K.csv` and `audio/fold1` to `audio/fold10`.

The ten folds are the data set's own, so that scores can be compared with published ones; there is no test set. Slices
of one Freesound recording (`fsID`) are a group. The csv's `start` and `end` are places in that recording, not in the
slice.
"""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition

import pandas as pd
from pydantic import Field

CSVS = ("metadata/UrbanSound8K.csv", "UrbanSound8K/metadata/UrbanSound8K.csv")
COLUMNS = ["slice_file_name", "fsID", "fold", "class"]


class Params(Section):
    """Reader settings."""

    foreground: bool = Field(False, description="only slices whose sound is in the foreground (salience 1)")


def read(params: Params, root: Path) -> Competition:
    """Read the csv below `root`, or below the archive's folder `UrbanSound8K` in it; the audio may be absent."""
    source = csvs.first_file(root, CSVS)
    if source is None:
        raise UserError(f"{root}: there is no {' or '.join(CSVS)}; check root= or download the data set")
    table = _foreground(params, source)
    ids = csvs.clip_ids(table, "slice_file_name", source)
    labels = csvs.labels(table, "class", source)
    folds = csvs.integers(table, "fold", source)
    if min(folds) < 1:
        raise UserError(f"{source}: row {table.index[folds.index(min(folds))]}: the folds count from 1, not 0")
    audio = (source.parents[1] / "audio").relative_to(root).as_posix()
    paths = [csvs.clip_path(f"{audio}/fold{fold}", name) for fold, name in zip(folds, ids, strict=True)]
    train = csvs.train_frame(ids, paths, labels, True, list(table["fsID"]), [fold - 1 for fold in folds])
    return Competition(root, train, csvs.test_frame([], []), tuple(sorted(set(labels))), None)


def _foreground(params: Params, source: Path) -> pd.DataFrame:
    """The csv's rows, those in the foreground alone if that is asked for."""
    if not params.foreground:
        return csvs.read_table(source, COLUMNS)
    table = csvs.read_table(source, [*COLUMNS, "salience"])
    table = table[table["salience"] == "1"]
    if table.empty:
        raise UserError(f"{source}: no row has salience 1; say reader.foreground=false")
    return table
