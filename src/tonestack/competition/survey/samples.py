"""The sample submission of an unknown competition, its test csv and the folder of its test recordings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.competition import csvs
from tonestack.competition.survey.columns import Names, named_files
from tonestack.competition.survey.recordings import paths_below

import pandas as pd


@dataclass(frozen=True)
class Sample:
    """A csv that names test clips: its path below the root, whether it is a sample submission, and where the files are.

    names: None where no file of it was found.
    """

    path: str
    is_sample: bool
    table: pd.DataFrame
    names: Names | None


def find(root: Path, train: Path) -> list[Sample]:
    """The csv files in the root and beside the train csv that seem to be sample submissions or lists of test clips."""
    folders = dict.fromkeys([root, train.parent])
    sources = [path for folder in folders for path in sorted(folder.glob("*.csv")) if path != train]
    audio = set(paths_below(root))
    found = []
    for path in sources:
        name = path.stem.casefold()
        is_sample = "sample" in name or "submission" in name
        if not (is_sample or name.startswith("test")):
            continue
        try:
            table = csvs.read_table(path)
        except UserError:
            continue
        where = path.relative_to(root).as_posix()
        found.append(Sample(where, is_sample, table, _in_any_folder(table, audio)))
    return sorted(found, key=lambda sample: not sample.is_sample)


def _in_any_folder(table: pd.DataFrame, audio: set[str]) -> Names | None:
    """The column and folder of a csv's clips, wherever below the root they are."""
    folders = sorted({path.rpartition("/")[0] for path in audio})
    some = table.iloc[:: max(1, len(table) // 200)]
    found = [names for folder in folders if (names := named_files(some, _in(audio, folder), folder))]
    return max(found, key=lambda names: names.rows, default=None)


def _in(audio: set[str], folder: str) -> set[str]:
    return {path for path in audio if path.rpartition("/")[0] == folder}


def window(table: pd.DataFrame) -> int:
    """The seconds of the windows that rows `<file>_<end second>` seem to be; 0 where they seem to be none."""
    ends = table.iloc[:, 0].str.extract(r".+_(\d{1,6})$")[0]
    if ends.isna().any():
        return 0
    step = int(ends.astype(int).min())
    whole = step > 0 and (ends.astype(int) % step == 0).all()
    return step if whole and ends.nunique() > 1 else 0


def of_windows(root: Path, table: pd.DataFrame, seconds: int) -> dict[str, Any]:
    """The reader's settings where a sample's rows are only an example of windows of files that are found."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name.casefold().startswith("test"))
    suffixes = {Path(path).suffix for path in paths_below(root / folders[0])} if folders else set()
    values = {"reader.test_rows": "files", "reader.window": seconds, "reader.sample_rows": "example"}
    values |= {"reader.test_audio": folders[0] if folders else "", "reader.test_clip": str(table.columns[0])}
    return values | ({"reader.test_suffix": suffixes.pop()} if len(suffixes) == 1 else {})
