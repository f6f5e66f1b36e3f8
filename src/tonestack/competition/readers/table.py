"""Any competition that ships a csv of clips and labels and a folder of audio: the names are settings.

Labels may be in the forms of `competition/label_cells.py`, clips pieces of files, submissions of the styles of
`competition/sample.py`.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import check_clip_name
from tonestack.competition import csvs, label_cells, sample, windows
from tonestack.competition.label_cells import LabelParams
from tonestack.competition.sample import SampleParams
from tonestack.tables import label_grammar
from tonestack.tables.competition import TIMES, Competition

import pandas as pd
from pydantic import Field

SCORING = ("clip_id", "label", "usage")


class Params(LabelParams, SampleParams):
    """Paths below the root and names of the columns; an empty name means "there is none".

    `train_suffix`/`test_suffix` are appended to a clip's id to get its file name (`.wav` where the csv gives bare ids).
    `style: auto` derives the submission's style from the sample: one column per class is `scores`; one class name per
    cell is `label`; numbers that are no classes, of two classes, are the `probability` of `positive`; anything else is
    `labels`, the `k` best separated by blanks (`k: 0`: as many as
    in the sample's rows).
    """

    train_csv: str = Field("train.csv", description="csv of the training clips")
    clip: str = Field("fname", description="column of the clip ids")
    file: str = Field("", description="column of the file names, in train and test csv; empty: the clip ids")
    start: str = Field("", description="column of the second where a clip begins in its file; empty: it is the file")
    end: str = Field("", description="column of the second where a clip ends; seconds, or HH:MM:SS")
    repeated: Literal["refuse", "unite"] = Field(
        "refuse", description="several rows of one clip: refuse them, or unite their labels, with a note"
    )
    verified: str = Field("", description="column that is 1 where a person checked the label; empty: none")
    group: str = Field("", description="column of the group that folds keep together; empty: none")
    fold: str = Field("", description="column of the official folds; empty: none")
    first_fold: int = Field(0, description="number of the first fold in the csv")
    train_audio: str = Field("audio_train", description="folder of the training recordings")
    test_audio: str = Field("audio_test", description="folder of the test recordings")
    train_suffix: str = Field("", description="appended to a training clip's id to get its file name")
    test_suffix: str = Field("", description="appended to a test clip's id to get its file name")
    test_csv: str = Field("", description="csv of the test clips; empty: the sample submission's rows")
    test_clip: str = Field("", description="column of the test csv's clip ids; empty: as in the train csv")
    test_rows: Literal["listed", "files"] = Field(
        "listed", description="test clips are listed in a csv, or they are the files found in test_audio"
    )
    window: float = Field(
        0.0, ge=0, description="length of the pieces that test files found are cut into, s, ids <file>_<end>; 0: whole"
    )
    row_pattern: str = Field(
        "",
        description="regular expression of a listed test id with (?P<file>...) and (?P<end>...): the clip is the "
        "`window` seconds before that second",
    )
    scoring_csv: str = Field("", description="csv of the test labels, if they are known; empty: none")


def read(params: Params, root: Path) -> Competition:
    """Read the csv files named in `params` below `root`; the audio may be absent."""
    train, notes = _train(params, root)
    classes = label_cells.classes_of(params, train["label"])
    test = _test(params, root)
    if test is None:
        return Competition(root, train, csvs.test_frame([], []), classes, None, notes=notes)
    train, renamed = _called_apart(train, test) if "test_audio" in params.model_fields_set else (train, ())
    csvs.check_apart(train["clip_id"], test["clip_id"], _test_source(params, root))
    header = (params.test_clip or params.clip, params.label or "label")
    nothing = next(filter(None, params.nothing), "")
    form = sample.form(params, root, header, list(test["clip_id"]), classes, nothing) if len(test) else None
    return Competition(root, train, test, classes, form, notes=(*notes, *renamed))


def _called_apart(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Train clips, called by their paths where other files of the test have the same names; and a note of it.

    Many competitions number the files of both folders from 0. The test's names stay, as the submission has them.
    """
    twice = set(train["clip_id"]) & set(test["clip_id"])
    paths = set(train["path"])
    if not twice or len(paths) < len(train) or not paths.isdisjoint([*test["path"], *test["clip_id"]]):
        return train, ()
    said = f"{len(twice)} names such as '{min(twice)}' are in train and test: train clips are called by their paths"
    return train.assign(clip_id=train["path"]), (said,)


def scoring_table(params: Params, root: Path) -> Path | pd.DataFrame | None:
    """Return the csv of test labels (with a `usage` column) named in the settings, if it is there.

    Labels in another form than one a cell or commas are read here: `clip_id, label, usage`.
    """
    found = csvs.first_file(root, [params.scoring_csv] if params.scoring_csv else [])
    if found is None or (params.label_form in ("one", "commas") and not params.label_map and not params.nothing):
        return found
    table = csvs.read_table(found)
    if params.label and params.label_form != "columns" and params.label not in table.columns:
        raise UserError(f"{found}: there is no column '{params.label}' of labels{nearest(params.label, table.columns)}")
    if params.secondary_label not in table.columns:
        params = params.model_copy(update={"secondary_label": ""})
    key = next(name for name in (params.test_clip, params.clip, "clip_id", *table.columns) if name in table.columns)
    usage = next((name for name in table.columns if name.lower() == "usage"), "")
    names = list(table[key])
    cells = label_cells.read(params, table, names, found, [key, usage, *_named(params)])
    shown = table[usage].str.capitalize() if usage else pd.Series("Public", index=table.index)
    kept = pd.DataFrame(dict(zip(SCORING, (names, cells, shown), strict=True)), index=table.index)
    return kept[kept["usage"].isin(["Public", "Private"])]


def _named(params: Params) -> list[str]:
    """The columns of the train csv that settings name and that hold no labels."""
    names = (params.clip, params.file, params.start, params.end, params.verified, params.group, params.fold)
    return [name for name in names if name]


def _train(params: Params, root: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The train frame, and notes on rows that were united."""
    source = _below(root, params.train_csv)
    hot = params.label_form == "columns"
    own = params.label_columns if hot else filter(None, (params.label, params.secondary_label))
    table = csvs.read_table(source, list(dict.fromkeys([*_named(params), *own])))
    table = csvs.read_table(source) if hot and not params.label_columns else table
    files = list(table[params.file or params.clip])
    times = _times(params, table, source)
    ids = _ids(params, table, times)
    texts = label_cells.read(params, table, files, source, _named(params))
    verified = csvs.flags(table, params.verified, source) if params.verified else True
    paths = [csvs.clip_path(params.train_audio, name, params.train_suffix) for name in _checked(files, table, source)]
    frame = csvs.train_frame(ids, paths, texts, verified, _groups(params, table, files), _folds(params, table, source))
    frame = frame.assign(**times.set_axis(frame.index)) if params.start else frame
    return _united(params, frame.set_index(table.index), source)


def _checked(files: list[str], table: pd.DataFrame, source: Path) -> list[str]:
    """Names of files, none blank, none that leaves its folder."""
    for row, name in zip(table.index, files, strict=True):
        if not name:
            raise UserError(f"{source}: row {row}: the file's name is blank; name the clip or remove the row")
        check_clip_name(name, f"{source}: row {row}")
    return files


def _times(params: Params, table: pd.DataFrame, source: Path) -> pd.DataFrame:
    """Start and end of every clip in seconds, NaN where it is its whole file."""
    found, timed = [], params.start and params.start in table.columns
    if timed and params.end and params.end not in table.columns:
        raise UserError(
            f"{source}: there is no column '{params.end}' (reader.end) beside '{params.start}'"
            f"{nearest(params.end, table.columns)}; name the end of every clip"
        )
    for row in table.index if timed else ():
        cells = [table.loc[row, params.start], table.loc[row, params.end] if params.end else ""]
        start, end = (windows.seconds_of(cell) if cell else float("nan") for cell in cells)
        if not params.end and start is not None and params.window:
            end = start + params.window
        if start is None or end is None or (cells[0] and not start < end) or (cells[1] and not cells[0]):
            raise UserError(f"{source}: row {row}: '{cells[0]}' to '{cells[1]}' is no piece of a file; fix the times")
        found.append((start, end))
    return pd.DataFrame(found or [(float("nan"),) * 2] * len(table), columns=TIMES, dtype=float)


def _ids(params: Params, table: pd.DataFrame, times: pd.DataFrame) -> list[str]:
    """Clip ids: those of the csv, or `<file>_<start>_<end>` of pieces that have none of their own."""
    if not params.start or params.file:
        return list(table[params.clip])
    rows = zip(table[params.clip], times["start"], times["end"], strict=True)
    return [f"{n}_{windows.number(s)}_{windows.number(e)}" if s == s else n for n, s, e in rows]


def _groups(params: Params, table: pd.DataFrame, files: list[str]) -> list[str] | str:
    """The group column, or what the files' names say; pieces of one file stay together in any case."""
    if params.group:
        return list(table[params.group])
    if "group" in label_cells.groups_named(params):
        return label_cells.named(params, files, "group")
    return files if params.start else ""


def _united(params: Params, frame: pd.DataFrame, source: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row a clip; the train frame's index becomes plain again."""
    if params.repeated == "refuse" or not frame["clip_id"].duplicated().any():
        csvs.clip_ids(frame, "clip_id", source)
        return frame.reset_index(drop=True), ()
    if not params.several:
        raise UserError(f"{source}: reader.repeated=unite is for clips of several labels; say reader.multilabel=true")
    _refuse_other_pieces(frame, source)
    texts = frame.groupby("clip_id", sort=False)["label"].agg(lambda cells: label_grammar.unite(list(cells)))
    kept = frame.drop_duplicates("clip_id")
    csvs.clip_ids(kept, "clip_id", source)
    kept = kept.reset_index(drop=True)
    twice = len(frame) - len(kept)
    note = f"{source.name}: {twice} rows name a clip again; their labels are united"
    return kept.assign(label=texts.to_numpy()), (note,)


def _refuse_other_pieces(frame: pd.DataFrame, source: Path) -> None:
    """Refuse rows of one clip that name several files, pieces or folds: all but the first would be lost in silence."""
    columns = [name for name in ("path", *TIMES, "fold") if name in frame.columns]
    first = frame.drop_duplicates("clip_id").set_index("clip_id").loc[frame["clip_id"], columns].set_axis(frame.index)
    for name in columns:
        other = (frame[name] != first[name]) & ~(frame[name].isna() & first[name].isna())
        if other.any():
            row = frame.index[other][0]
            fix = "leave reader.file out, or give every piece an id of its own"
            raise UserError(
                f"{source}: row {row}: clip '{frame.loc[row, 'clip_id']}' has another {name} than in a row before; "
                + ("give all its rows one fold" if name == "fold" else fix)
            )


def _folds(params: Params, table: pd.DataFrame, source: Path) -> list[int] | int:
    if not params.fold:
        return -1
    folds = [fold - params.first_fold for fold in csvs.integers(table, params.fold, source)]
    if min(folds) < 0:
        row = table.index[folds.index(min(folds))]
        raise UserError(f"{source}: row {row}: '{params.fold}' is below first_fold {params.first_fold}; fix either")
    return folds


def _test_source(params: Params, root: Path) -> Path:
    return root / (params.test_csv or params.sample_submission or params.test_audio)


def _test(params: Params, root: Path) -> pd.DataFrame | None:
    """The test frame: of the files found, of the test csv, or of the sample's rows; None where there is none."""
    if params.test_rows == "files":
        return _of_files(params, root)
    if params.test_csv:
        source = _below(root, params.test_csv)
        key, wanted = params.test_clip or params.clip, [params.file, params.start, params.end, params.group]
        table = csvs.read_table(source, [key], [name for name in wanted if name])
    elif params.sample_submission and params.sample_rows == "all" and params.style not in sample.PAIRED:
        source = _below(root, params.sample_submission)
        header = csvs.read_header(source)
        key = next((name for name in (params.test_clip, params.clip) if name in header), header[0])
        table = csvs.read_table(source, [key])
    elif params.sample_submission:
        raise UserError(
            "reader: the sample's rows are no test clips; name them by reader.test_csv or reader.test_rows=files"
        )
    else:
        return None
    return _listed(params, table, key, source)


def _listed(params: Params, table: pd.DataFrame, key: str, source: Path) -> pd.DataFrame:
    """The test frame of listed clips."""
    ids = csvs.clip_ids(table, key, source)
    files = _checked(list(table[params.file]), table, source) if params.file in table.columns else ids
    times = _times(params, table, source)
    if params.row_pattern:
        files, times = _of_rows(params, ids, table, source)
    paths = [csvs.clip_path(params.test_audio, name, params.test_suffix) for name in files]
    group = list(table[params.group]) if params.group in table.columns[1:] else files if params.row_pattern else ""
    frame = csvs.test_frame(ids, paths, group)
    return frame.assign(**times) if params.start or params.row_pattern else frame


def _of_rows(params: Params, ids: list[str], table: pd.DataFrame, source: Path) -> tuple[list[str], pd.DataFrame]:
    """Files and times that `row_pattern` finds in the ids."""
    try:
        pattern = re.compile(params.row_pattern)
    except re.error as error:
        raise UserError(f"reader.row_pattern: {error}; fix the regular expression") from None
    if "file" not in pattern.groupindex or ("end" in pattern.groupindex and not params.window):
        raise UserError("reader.row_pattern: needs (?P<file>...), and reader.window beside (?P<end>...)")
    found = []
    for row, name in zip(table.index, ids, strict=True):
        match = pattern.fullmatch(name[: label_cells.LONGEST_NAME])
        end = windows.seconds_of(match["end"]) if match and "end" in pattern.groupindex else float("nan")
        if match is None or not match["file"] or end is None:
            raise UserError(f"{source}: row {row}: reader.row_pattern does not fit '{name}'; fix either")
        found.append((check_clip_name(match["file"], f"{source}: row {row}"), end - params.window, end))
    return [name for name, *_ in found], pd.DataFrame([times for _, *times in found], columns=TIMES)


def _of_files(params: Params, root: Path) -> pd.DataFrame:
    """The test frame of the files found in `test_audio`, or of all their windows."""
    given = params.test_audio
    folder = PurePosixPath(check_clip_name(given, "data: reader.test_audio") if given else "")
    paths = windows.files_in(root, str(folder))
    below = [PurePosixPath(path).relative_to(folder).as_posix() for path in paths]
    names = [check_clip_name(name.removesuffix(params.test_suffix), str(root)) for name in below]
    if not params.window:
        return csvs.test_frame(names, paths)
    table = windows.of_files(root, paths, params.window)
    ids = [f"{stem}_{windows.number(end)}" for stem, end in zip(table["stem"], table["end"], strict=True)]
    frame = csvs.test_frame(
        csvs.clip_ids(pd.DataFrame({"id": ids}), "id", root), list(table["path"]), list(table["path"])
    )
    return frame.assign(start=table["start"], end=table["end"])


def _below(root: Path, name: str) -> Path:
    return root / check_clip_name(name, "data: csv")
