"""Rainforest Connection Species Audio Detection (Kaggle 2020/21): 24 species in recordings of a minute, 48 kHz.

`train_tp.csv` and `train_fp.csv` (`recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max`) say of a piece of a
recording that one species is there, or that it is not; whether others are nobody knows. So a row is a clip from
`t_min` to `t_max` whose other classes are unknown. Test recordings are cut into windows; a row of the submission is
the maximum over a recording's windows (`recording_id,s0,…,s23`).
"""

from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs, windows
from tonestack.tables.competition import Competition, SubmissionFormat
from tonestack.tables.label_grammar import ABSENT_MARK, OTHERS

import pandas as pd
from pydantic import Field

COLUMNS = ["recording_id", "species_id", "t_min", "t_max"]
THERE, NOT_THERE, SAMPLE = "train_tp.csv", "train_fp.csv", "sample_submission.csv"
SUFFIX = ".flac"


class Params(Section):
    """Reader settings."""

    window: float = Field(10.0, gt=0, description="length of the windows of test recordings, s")
    false_positives: bool = Field(True, description="use train_fp.csv: pieces that a species is not in")
    others: Literal["unknown", "absent"] = Field(
        "unknown", description="classes that a row of train_tp.csv does not name: unknown, or taken to be absent"
    )


def read(params: Params, root: Path) -> Competition:
    """Read the csv files below `root`; of the test recordings the lengths are read, no training recording is opened."""
    rows = [_pieces(params, root / THERE, there=True)]
    if params.false_positives:
        rows.append(_pieces(params, root / NOT_THERE, there=False))
    table = pd.concat(rows, ignore_index=True)
    twice = table.duplicated(["recording", "species", "start", "end", "label"])
    notes = (
        (f"rows that name a piece and species again, united with the first: {int(twice.sum())}",) if twice.any() else ()
    )
    table = table[~twice]
    ids = [
        f"{name}_{species}_{windows.number(start)}_{windows.number(end)}{mark}"
        for name, species, start, end, mark in zip(
            *(table[column] for column in ("recording", "species", "start", "end", "mark")), strict=True
        )
    ]
    paths = [csvs.clip_path("train", name, SUFFIX) for name in table["recording"]]
    train = csvs.train_frame(ids, paths, list(table["label"]), group=list(table["recording"]))
    train = train.assign(start=table["start"].to_numpy(), end=table["end"].to_numpy())
    found = sorted({f"s{number}" for number in table["species"]}, key=lambda name: int(name[1:]))
    names, header = _test(root, found)
    test = _windows(params, root, names)
    recording_of = dict(zip(test["clip_id"], test["group"], strict=True))
    form = SubmissionFormat(header, tuple(names), "scores", pooled=recording_of)
    return Competition(root, train, test, tuple(sorted(header[1:])), form if names else None, notes=notes)


def _pieces(params: Params, source: Path, there: bool) -> pd.DataFrame:
    """Rows of one csv: `recording, species, start, end, label, mark`; `mark` tells clips of the two apart."""
    table = csvs.read_table(source, COLUMNS)
    csvs.integers(table, "species_id", source)
    spans = []
    for row, name, first, last in table[["recording_id", "t_min", "t_max"]].itertuples(name=None):
        check_clip_name(name, f"{source}: row {row}")
        start, end = windows.seconds_of(first), windows.seconds_of(last)
        if start is None or end is None or start >= end:
            raise UserError(f"{source}: row {row}: t_min '{first}' to t_max '{last}' is no time span; fix the row")
        spans.append((start, end))
    species = list(table["species_id"])
    unknown = "" if there and params.others == "absent" else f",{OTHERS}"
    return pd.DataFrame(
        {
            "recording": list(table["recording_id"]),
            "species": species,
            "start": [start for start, _ in spans],
            "end": [end for _, end in spans],
            "label": [f"{'' if there else ABSENT_MARK}s{number}{unknown}" for number in species],
            "mark": "" if there else "_not",
        }
    )


def _test(root: Path, found: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Names of the test recordings, and the submission's header: the sample's, else of the files and species found."""
    sample = csvs.first_file(root, [SAMPLE])
    if sample is None:
        names = [Path(path).stem for path in windows.files_in(root, "test")]
        return names, ("recording_id", *found)
    header = tuple(csvs.read_header(sample))
    missing = next((name for name in found if name not in header), None)
    if missing is not None:
        raise UserError(f"{sample}: species '{missing}' has no column; restore the file")
    return csvs.clip_ids(csvs.read_table(sample, ["recording_id"]), "recording_id", sample), header


def _windows(params: Params, root: Path, names: list[str]) -> pd.DataFrame:
    """The windows of the test recordings as a test frame; `group` is the recording."""
    if not names:
        return csvs.test_frame([], []).assign(start=[], end=[])
    table = windows.of_files(root, [csvs.clip_path("test", name, SUFFIX) for name in names], params.window)
    stems = [Path(path).stem for path in table["path"]]
    ids = [f"{stem}_{windows.number(end)}" for stem, end in zip(stems, table["end"], strict=True)]
    frame = csvs.test_frame(ids, list(table["path"]), stems)
    return frame.assign(start=table["start"].to_numpy(), end=table["end"].to_numpy())
