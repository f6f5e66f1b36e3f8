"""DCASE task 1 (acoustic scenes): `meta.csv`, tab-separated, `audio/` and `evaluation_setup/`, from 2018 on.

`meta.csv` has `filename, scene_label, identifier, source_label`; `filename` begins with `audio/`. Recordings of one
place (`identifier`) are a group. With several folds in `evaluation_setup/` these are the folds; with one, its train
part is trained on (folds are made by place) and its test part is the test set, whose labels only `score` reads.
The files lie in `root`, or in the one folder below it that the archives make (`TAU-urban-acoustic-scenes-2019-…`).
"""

from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd
from pydantic import Field

SETUP = "evaluation_setup"


class Params(Section):
    """Reader settings."""

    split: Literal["auto", "folds", "test", "none"] = Field(
        "auto",
        description="folds: the official folds; test: fold 1 as train and test set; none: all clips are trained on; "
        "auto: test if there is one official fold, folds if there are more, none if there is none",
    )
    devices: tuple[str, ...] = Field((), description="only clips of these devices (source_label); none given: all")


def read(params: Params, root: Path) -> Competition:
    """Read the csv files below `root`; the audio may be absent."""
    home = _home(root)
    source = home / "meta.csv"
    table = _devices(params, source)
    csvs.clip_ids(table, "filename", source)
    csvs.labels(table, "scene_label", source)
    table = table.set_index("filename", drop=False)
    classes = tuple(sorted(set(table["scene_label"])))
    split = _split(params, home)
    if split == "folds":
        fold = _official_folds(home, table, source)
        return Competition(root, _train(root, home, table, fold), csvs.test_frame([], []), classes, None)
    if split == "none":
        return Competition(root, _train(root, home, table, -1), csvs.test_frame([], []), classes, None)
    trained, tested = _part(home, 1, "train", table), _part(home, 1, "test", table)
    csvs.check_apart(trained, tested, home / SETUP)
    test = csvs.test_frame(tested, _paths(root, home, tested), list(table.loc[tested, "identifier"]))
    form = SubmissionFormat(("filename", "scene_label"), tuple(tested), "label", 1)
    return Competition(root, _train(root, home, table.loc[trained], -1), test, classes, form)


def scoring_table(params: Params, root: Path) -> pd.DataFrame | None:
    """Labels of the test clips (`clip_id, label, usage`) out of `fold1_evaluate.csv`; None without a test set."""
    home = _home(root)
    source = home / SETUP / "fold1_evaluate.csv"
    if _split(params, home) != "test" or not source.is_file():
        return None
    kept = set(_devices(params, home / "meta.csv")["filename"])
    table = csvs.read_table(source, ["filename", "scene_label"])
    table = table[table["filename"].isin(kept)].rename(columns={"filename": "clip_id", "scene_label": "label"})
    return table.assign(usage="Public").reset_index(drop=True)


def _home(root: Path) -> Path:
    """The folder of `meta.csv`: the root, or the one folder in it that has such a file."""
    if (root / "meta.csv").is_file():
        return root
    found = sorted(path.parent for path in root.glob("*/meta.csv"))
    if len(found) > 1:
        raise UserError(f"{root}: {found[0].name} and {found[1].name} both have a meta.csv; say root= of one")
    if not found:
        raise UserError(f"{root}: there is no meta.csv in it, nor in a folder of it; check root= or download the data")
    return found[0]


def _devices(params: Params, source: Path) -> pd.DataFrame:
    """The rows of `meta.csv`, of some devices if the settings name any."""
    columns = ["filename", "scene_label", "identifier"]
    table = csvs.read_table(source, [*columns, *(["source_label"] if params.devices else [])])
    if not params.devices:
        return table
    for name in params.devices:
        if name not in set(table["source_label"]):
            known = ", ".join(sorted(set(table["source_label"])))
            raise UserError(f"{source}: no clip is of the device '{name}'; there is: {known}")
    return table[table["source_label"].isin(params.devices)]


def _split(params: Params, home: Path) -> str:
    """How clips are parted: as configured, else by the number of official folds."""
    if params.split != "auto":
        return params.split
    count = len(list((home / SETUP).glob("fold*_evaluate.csv")))
    return "none" if count == 0 else "test" if count == 1 else "folds"


def _part(home: Path, fold: int, part: str, table: pd.DataFrame) -> list[str]:
    """Clips of one part of an official fold, those of `table` alone."""
    source = home / SETUP / f"fold{fold}_{part}.csv"
    ids = csvs.clip_ids(csvs.read_table(source, ["filename"]), "filename", source)
    return [name for name in ids if name in table.index]


def _official_folds(home: Path, table: pd.DataFrame, source: Path) -> list[int]:
    """The number, from 0, of the official fold that evaluates each clip."""
    count = len(list((home / SETUP).glob("fold*_evaluate.csv")))
    place: dict[str, int] = {}
    for fold in range(1, count + 1):
        for name in _part(home, fold, "evaluate", table):
            if place.setdefault(name, fold - 1) != fold - 1:
                raise UserError(
                    f"{home / SETUP}: '{name}' is evaluated in folds {place[name] + 1} and {fold}; keep one"
                )
    missing = next((name for name in table.index if name not in place), None)
    if missing is not None:
        raise UserError(f"{source}: '{missing}' is evaluated in no fold of {SETUP}; say reader.split=test or none")
    return [place[name] for name in table.index]


def _train(root: Path, home: Path, table: pd.DataFrame, fold: list[int] | int) -> pd.DataFrame:
    labels, places = list(table["scene_label"]), list(table["identifier"])
    return csvs.train_frame(list(table.index), _paths(root, home, list(table.index)), labels, True, places, fold)


def _paths(root: Path, home: Path, names: list[str]) -> list[str]:
    folder = home.relative_to(root).as_posix()
    return [csvs.clip_path("" if folder == "." else folder, name) for name in names]
