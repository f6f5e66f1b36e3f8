"""Labels of soundscapes: which classes are heard in which seconds of a recording, in the two forms of BirdCLEF.

`filename, start, end, primary_label` (2026: labels joined by `;`, times `HH:MM:SS`) or `row_id, site, audio_id,
seconds, birds` (2021: labels separated by blanks, `nocall` for none, the second is the window's end). A file that any
row names has been listened to as a whole: its windows without a row hold nothing.
"""

import re
from pathlib import Path

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import check_clip_name
from tonestack.competition import csvs, windows
from tonestack.competition.soundscape_names import SoundscapeNames, by_name

import pandas as pd

FILES = ("train_soundscapes_labels.csv", "train_soundscape_labels.csv")
FOLDER = "train_soundscapes"
NOTHING = "nocall"

Row = tuple[str, float, float, str]  # path, start and end in seconds, labels as the csv has them


def read(
    root: Path, classes: tuple[str, ...], window: float, names: SoundscapeNames
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read every window of the labelled soundscapes, `csvs.train_frame` with `start, end`, and notes; none: no rows.

    Rows that name a window again are united, rows behind the end of their recording left out; both are noted. A
    recording that is missing keeps its rows, for `audio.bad_files` to decide on.
    """
    source = csvs.first_file(root, FILES)
    if source is None:
        return pd.DataFrame(columns=["path", "label"]), ()
    found = windows.files_in(root, FOLDER)
    by_site = "row_id" in csvs.read_header(source)
    rows = _by_site(source, found, window) if by_site else _by_time(source, found)
    table, notes = _united(rows, source, classes), []
    if len(rows) > len(table):
        notes.append(f"{source.name}: {len(rows) - len(table)} rows name a window again; they are united")
    lengths = windows.lengths(root, list(dict.fromkeys(table["path"])))
    late = table["start"] >= table["path"].map(lengths)
    if late.any():
        first = table.loc[late, "path"].iloc[0]
        notes.append(f"{source.name}: {late.sum()} rows begin behind the end of their recording, first of {first}")
    table = pd.concat([table[~late], _without_row(table, lengths, window)], ignore_index=True)
    table = table.sort_values(["path", "end", "start"], ignore_index=True)
    notes.append(
        f"tables are scored on {len(table)} windows of {table['path'].nunique()} labelled soundscapes "
        f"({(table['label'] == '').sum()} of them hold nothing); focal recordings are only trained on"
    )
    frame = csvs.train_frame(
        _ids(table, window), list(table["path"]), list(table["label"]), True, [names.group_of(p) for p in table["path"]]
    )
    return frame.assign(start=table["start"], end=table["end"]), tuple(notes)


def _by_time(source: Path, files: list[str]) -> dict[int, Row]:
    """Rows of `filename, start, end, primary_label`, times in seconds or as HH:MM:SS."""
    table, rows = csvs.read_table(source, ["filename", "start", "end", "primary_label"]), {}
    there = by_name(files)
    for row, name, *times, text in table.itertuples(name=None):
        check_clip_name(name, f"{source}: row {row}")
        start, end = (windows.seconds_of(time) for time in times)
        if start is None or end is None or start >= end:
            raise UserError(f"{source}: row {row}: '{times[0]}' to '{times[1]}' is no time span; write HH:MM:SS")
        rows[row] = (there.get(Path(name).stem.lower(), csvs.clip_path(FOLDER, name)), start, end, text)
    return rows


def _by_site(source: Path, files: list[str], window: float) -> dict[int, Row]:
    """Rows of `row_id, site, audio_id, seconds, birds`; files are called `<audio_id>_<site>_<date>`."""
    table, rows = csvs.read_table(source, ["site", "audio_id", "seconds", "birds"]), {}
    there = by_name(files)
    for row, site, audio, time, text in table.itertuples(name=None):
        name, end = check_clip_name(f"{audio}_{site}", f"{source}: row {row}"), windows.seconds_of(time)
        if end is None or end < window:
            raise UserError(f"{source}: row {row}: seconds '{time}' is not the end of a window of {window:g} s")
        rows[row] = (there.get(name.lower(), csvs.clip_path(FOLDER, name, ".ogg")), end - window, end, text)
    return rows


def _united(rows: dict[int, Row], source: Path, classes: tuple[str, ...]) -> pd.DataFrame:
    """One row `path, start, end, label` per piece, with all labels that its rows name."""
    known, cells = set(classes), dict[tuple[str, float, float], dict[str, None]]()
    for row, (path, start, end, text) in rows.items():
        names = [name for name in re.split(r"[;,\s]+", text) if name and name != NOTHING]
        for name in names:
            if name not in known:
                raise UserError(f"{source}: row {row}: unknown label '{name}'{nearest(name, known)}")
        cells.setdefault((path, start, end), {}).update(dict.fromkeys(names))
    pieces = [(*place, ",".join(labels)) for place, labels in cells.items()]
    return pd.DataFrame(pieces, columns=["path", "start", "end", "label"])


def _without_row(rows: pd.DataFrame, lengths: pd.Series, window: float) -> pd.DataFrame:
    """The windows of the recordings that no row overlaps: nothing is heard in them."""
    every = windows.of_lengths(lengths, window).drop(columns="stem")
    pairs = every.reset_index().merge(rows, on="path", suffixes=("", "_row"))
    overlap = (pairs["start"] < pairs["end_row"]) & (pairs["end"] > pairs["start_row"])
    return every[~every.index.isin(pairs.loc[overlap, "index"])].assign(label="")


def _ids(table: pd.DataFrame, window: float) -> list[str]:
    """Names of pieces: the recording's and the second of the end, of pieces of other lengths also of the start."""
    return [
        "_".join([Path(path).stem, *([] if end - start == window else [windows.number(start)]), windows.number(end)])
        for path, start, end in table[["path", "start", "end"]].itertuples(index=False)
    ]
