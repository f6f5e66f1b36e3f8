"""BirdCLEF 2021 to 2026 and Cornell Birdcall 2020: focal recordings to learn from, windows of soundscapes to tag.

Focal recordings: `train.csv` or `train_metadata.csv`, `train_audio/<class>/` or `train_short_audio/<class>/`.
Labelled soundscapes: `train_soundscapes_labels.csv` (`filename, start, end, primary_label`) or
`train_soundscape_labels.csv` (`row_id, site, audio_id, seconds, birds`). A labelled file is cut into windows; those
that no row names hold nothing. Where there are any, their windows alone are verified: choices are made on them, since
scores on focal recordings say little about soundscapes. All other recordings of `train_soundscapes/` and
`unlabeled_soundscapes/` are the pool. Test rows are the windows of the files found in `test_soundscapes/`; the sample
submission gives the columns. A window's second is its end.
"""

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs, windows
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd
from pydantic import Field

TRAIN = ("train.csv", "train_metadata.csv")
FOCAL = ("train_audio", "train_short_audio")
LABELLED = ("train_soundscapes_labels.csv", "train_soundscape_labels.csv")
POOLS = ("train_soundscapes", "unlabeled_soundscapes")
NOTHING = "nocall"
LONGEST = 100_000  # characters of a list in a cell


class Params(Section):
    """Reader settings: the differences between the years."""

    label_column: str = Field("primary_label", description="column of the class in the csv of focal recordings")
    name_column: str = Field(
        "", description="column of the names by which secondary labels call the classes; none given: the classes"
    )
    group_column: str = Field("author", description="column of the recordist, whose recordings stay in one fold")
    secondary: float | Literal["mask", "ignore"] = Field(
        0.5, description="secondary labels: their target, mask (unknown) or ignore (absent)"
    )
    min_rating: float = Field(0.0, ge=0, description="focal recordings rated lower are left out; 0: no rating")
    window: float = Field(5.0, gt=0, description="length of a window, s")
    name_pattern: str = Field(
        "", description="regular expression of a soundscape's name without suffix, with groups such as (?P<site>...)"
    )
    group_soundscapes: str = Field(
        "", description="group of name_pattern whose soundscapes stay in one fold; none given: every file by itself"
    )
    row_stem: str = Field(
        "", description="regular expression whose first group is the file's part of a row id; none given: the stem"
    )
    style: Literal["scores", "set", "pairs"] = Field(
        "scores", description="submission: a probability per class, a set of classes per window, or window x class"
    )


def read(params: Params, root: Path) -> Competition:
    """Read the competition's tables below `root`; of audio files only the lengths are read."""
    source = csvs.first_file(root, TRAIN)
    if source is None:
        raise UserError(f"{root}: there is no {' or '.join(TRAIN)}; check root= or download it")
    patterns = _Patterns(params, root)
    focal = _focal_table(params, source)
    sample = csvs.first_file(root, ("sample_submission.csv",))
    classes = _classes(params, root, focal, sample)
    marked, note = _soundscapes(params, root, classes, patterns)
    recordings, left = _focal(params, focal, source, classes, verified=marked.empty)
    train = pd.concat([recordings, marked], ignore_index=True) if len(marked) else recordings
    labelled = set(marked["path"]) if len(marked) else set()
    pool = [path for folder in POOLS for path in windows.files_in(root, folder) if path not in labelled]
    test = _windows(root, windows.files_in(root, "test_soundscapes"), params.window, patterns)
    form = _submission(params, root, sample, classes, test)
    known = [patterns.facts(table) for table in (marked, test) if len(table)]
    extras = {"clips": pd.concat(known, ignore_index=True)} if known and patterns.named else {}
    columns = ["clip_id", "path", "group", "start", "end"]
    notes = (*left, *note, *_test_note(root, test))
    pool_table = csvs.test_frame([check_clip_name(path, str(root)) for path in pool], pool)
    return Competition(root, train, test[columns], classes, form, extras, notes, pool_table)


class _Patterns:
    """What the name of a soundscape says."""

    def __init__(self, params: Params, root: Path) -> None:
        self.name, self.stem = (_compiled(getattr(params, key), key) for key in ("name_pattern", "row_stem"))
        self.group, self.root = params.group_soundscapes, root
        if self.group and self.group not in self.named:
            raise UserError(f"reader.group_soundscapes: reader.name_pattern has no group (?P<{self.group}>...)")

    @property
    def named(self) -> list[str]:
        """The groups of the pattern."""
        return list(self.name.groupindex) if self.name else []

    def row_stem(self, stem: str) -> str:
        """The file's part of a row id."""
        found = self.stem.search(stem) if self.stem else None
        return found[1] if found else stem

    def of(self, stem: str) -> dict[str, str]:
        """The values of the pattern's groups."""
        found = self.name.search(stem) if self.name else None
        return dict.fromkeys(self.named, "") if found is None else {k: v or "" for k, v in found.groupdict().items()}

    def group_of(self, stem: str) -> str:
        """The group of a file's windows; empty where the file is a group of its own."""
        return self.of(stem).get(self.group, "")

    def facts(self, table: pd.DataFrame) -> pd.DataFrame:
        """What the names say, by clip."""
        stems = [Path(path).stem for path in table["path"]]
        return pd.DataFrame([self.of(stem) for stem in stems]).assign(clip_id=table["clip_id"].to_numpy())


def _compiled(text: str, key: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise UserError(f"reader.{key}: {error}; fix the regular expression") from None


def _focal_table(params: Params, source: Path) -> pd.DataFrame:
    wanted = ["filename", params.label_column]
    optional = ["secondary_labels", "rating", params.group_column, params.name_column]
    table = csvs.read_table(source, wanted, optional)
    if params.min_rating and "rating" in table:
        rating = pd.to_numeric(table["rating"], errors="coerce").fillna(0.0)
        table = table[(rating == 0) | (rating >= params.min_rating)]
    return table


def _classes(params: Params, root: Path, focal: pd.DataFrame, sample: Path | None) -> tuple[str, ...]:
    """The sample submission's columns and the taxonomy's classes, else those of the focal recordings."""
    found = set(focal[params.label_column])
    taxonomy = csvs.first_file(root, ("taxonomy.csv",))
    if taxonomy is not None:
        found |= set(csvs.read_table(taxonomy, ["primary_label"])["primary_label"])
    if sample is not None and params.style == "scores":
        found |= set(csvs.read_header(sample)[1:])
    return tuple(sorted(found - {"", NOTHING}))


def _focal(
    params: Params, table: pd.DataFrame, source: Path, classes: tuple[str, ...], verified: bool
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The focal recordings, and a note on secondary labels that are no classes."""
    labels = csvs.labels(table, params.label_column, source, classes)
    names = [name if "/" in name else f"{label}/{name}" for name, label in zip(table["filename"], labels, strict=True)]
    ids = csvs.clip_ids(table.assign(filename=names), "filename", source)
    folder = next((name for name in FOCAL if (source.parent / name).is_dir()), FOCAL[0])
    called = dict(zip(table[params.name_column], labels, strict=True)) if params.name_column in table else {}
    known, unknown, texts = set(classes), 0, []
    for row, label, cell in zip(table.index, labels, table.get("secondary_labels", [""] * len(table)), strict=True):
        others = [called.get(name, name) for name in listed(cell, f"{source}: row {row}: 'secondary_labels'")]
        unknown += sum(name not in known for name in others)
        texts.append(",".join([label, *_secondary(params, [n for n in others if n in known and n != label])]))
    group = list(table[params.group_column]) if params.group_column in table else ""
    paths = [csvs.clip_path(folder, name) for name in ids]
    notes = (f"{source.name}: {unknown} secondary labels are no classes and are left out",) if unknown else ()
    return csvs.train_frame(ids, paths, texts, verified, group).assign(start=float("nan"), end=float("nan")), notes


def _secondary(params: Params, names: Iterable[str]) -> list[str]:
    """Secondary labels as the label cell has them: `name:0.5`, or `?name` where they are masked."""
    unique = list(dict.fromkeys(names))
    if params.secondary == "ignore":
        return []
    return [f"?{name}" if params.secondary == "mask" else f"{name}:{params.secondary:g}" for name in unique]


def listed(cell: str, where: str) -> list[str]:
    """Return the texts of a Python list that a cell holds: `['houspa', 'redava']`; a blank cell holds none."""
    if not cell:
        return []
    try:
        if len(cell) > LONGEST:
            raise ValueError
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise UserError(f"{where} is no list such as ['a', 'b']; fix the row") from None
    if not isinstance(value, list):
        raise UserError(f"{where} is no list such as ['a', 'b']; fix the row")
    return [str(name) for name in value if str(name)]


def _soundscapes(
    params: Params, root: Path, classes: tuple[str, ...], patterns: _Patterns
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Every window of the labelled soundscapes, those without a row with no label, and notes on how they were read."""
    source = csvs.first_file(root, LABELLED)
    if source is None:
        return pd.DataFrame(), ()
    rows = _by_site(source, root, params) if "row_id" in csvs.read_header(source) else _by_time(source)
    known, cells = set(classes), dict[tuple[str, float, float], list[list[str]]]()
    for row, (path, start, end, text) in rows.items():
        labels = [name for name in re.split(r"[;,\s]+", text) if name and name != NOTHING]
        wrong = next((name for name in labels if name not in known), None)
        if wrong is not None:
            raise UserError(f"{source}: row {row}: unknown label '{wrong}'")
        cells.setdefault((path, start, end), []).append(labels)
    table = pd.DataFrame(
        [(*place, ",".join(dict.fromkeys(name for row in found for name in row))) for place, found in cells.items()],
        columns=["path", "start", "end", "label"],
    )
    twice = len(rows) - len(table)
    notes: tuple[str, ...] = (f"{source.name}: {twice} rows name a window again; they are united",) if twice else ()
    empty = _empty(root, table, params.window)
    table = pd.concat([table, empty], ignore_index=True).sort_values(["path", "end"], ignore_index=True)
    notes += (
        f"tables are scored on {len(table)} windows of {table['path'].nunique()} labelled soundscapes "
        f"({int((table['label'] == '').sum())} of them hold nothing); focal recordings are only trained on",
    )
    stems = [Path(path).stem for path in table["path"]]
    ids = [f"{stem}_{windows.number(end)}" for stem, end in zip(stems, table["end"], strict=True)]
    groups = [patterns.group_of(stem) or path for stem, path in zip(stems, table["path"], strict=True)]
    frame = csvs.train_frame(ids, table["path"].tolist(), table["label"].tolist(), True, groups)
    return frame.assign(start=table["start"].to_numpy(), end=table["end"].to_numpy()), notes


Row = tuple[str, float, float, str]


def _by_time(source: Path) -> dict[int, Row]:
    """Rows of `filename, start, end, primary_label`, times in seconds or as HH:MM:SS."""
    table, rows = csvs.read_table(source, ["filename", "start", "end", "primary_label"]), {}
    for row, name, *times, text in table.itertuples(name=None):
        check_clip_name(name, f"{source}: row {row}")
        start, end = (windows.seconds_of(time) for time in times)
        if start is None or end is None or start >= end:
            raise UserError(f"{source}: row {row}: '{times[0]}' to '{times[1]}' is no time span; write HH:MM:SS")
        rows[row] = (csvs.clip_path(POOLS[0], name), start, end, text)
    return rows


def _by_site(source: Path, root: Path, params: Params) -> dict[int, Row]:
    """Rows of `row_id, site, audio_id, seconds, birds`; files are `<audio_id>_<site>_<date>`."""
    table, rows = csvs.read_table(source, ["row_id", "site", "audio_id", "seconds", "birds"]), {}
    files = {"_".join(Path(path).stem.split("_")[:2]): path for path in windows.files_in(root, POOLS[0])}
    for row, _, site, audio, time, text in table.itertuples(name=None):
        path, end = files.get(f"{audio}_{site}"), windows.seconds_of(time)
        if path is None:
            raise UserError(f"{source}: row {row}: there is no {POOLS[0]}/{audio}_{site}_*; restore the recording")
        if end is None or end < params.window:
            raise UserError(f"{source}: row {row}: seconds '{time}' is not the end of a window; fix the row")
        rows[row] = (path, end - params.window, end, text)
    return rows


def _empty(root: Path, rows: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """The windows of labelled files that no row overlaps: nothing is heard in them."""
    every = windows.of_files(root, rows["path"].drop_duplicates().tolist(), seconds)
    pairs = every.reset_index().merge(rows, on="path", suffixes=("", "_row"))
    overlap = (pairs["start"] < pairs["end_row"]) & (pairs["end"] > pairs["start_row"])
    taken = set(pairs.loc[overlap, "index"])
    return every.loc[[i not in taken for i in every.index], ["path", "start", "end"]].assign(label="")


def _windows(root: Path, paths: list[str], seconds: float, patterns: _Patterns) -> pd.DataFrame:
    """The test rows: all windows of the files found."""
    if not paths:
        return csvs.test_frame([], []).assign(start=[], end=[])
    table = windows.of_files(root, paths, seconds)
    stems = {stem: patterns.row_stem(check_clip_name(stem, str(root))) for stem in table["stem"].unique()}
    ids = [f"{stems[stem]}_{windows.number(end)}" for stem, end in zip(table["stem"], table["end"], strict=True)]
    frame = csvs.test_frame(ids, table["path"].tolist(), table["path"].tolist())
    return frame.assign(start=table["start"].to_numpy(), end=table["end"].to_numpy())


def _submission(
    params: Params, root: Path, sample: Path | None, classes: tuple[str, ...], test: pd.DataFrame
) -> SubmissionFormat | None:
    """The sample's columns, and the windows found as rows."""
    if test.empty:
        return None
    header = tuple(csvs.read_header(sample)) if sample else ("row_id", *classes)
    return SubmissionFormat(header, tuple(test["clip_id"]), "scores")


def _test_note(root: Path, test: pd.DataFrame) -> tuple[str, ...]:
    if len(test):
        return ()
    return (f"{root / 'test_soundscapes'}: holds no recording, so there is nothing to predict (Kaggle fills it later)",)


def scored_classes(root: Path) -> tuple[str, ...]:
    """The classes of `scored_birds.json`; empty where there is none."""
    path = root / "scored_birds.json"
    if not path.is_file():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise UserError(f"{path}: is no list of class names; restore the file")
    return tuple(found)
