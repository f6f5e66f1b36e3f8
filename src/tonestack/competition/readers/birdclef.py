"""BirdCLEF 2021 to 2026 and Cornell Birdcall 2020: focal recordings to learn from, windows of soundscapes to tag.

Focal recordings: `train.csv` or `train_metadata.csv`, `train_audio/<class>/` or `train_short_audio/<class>/`.
Labelled soundscapes, where there are any (`competition/soundscape_labels.py`), are what tables are scored on: their
windows alone are verified, since scores on focal recordings say little about soundscapes. All other recordings of
`train_soundscapes/` and `unlabeled_soundscapes/` are the pool. Test rows are the windows of the files found in
`test_soundscapes/`, or those of `test.csv`; the sample submission gives the columns. A window's second is its end.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs, label_cells, soundscape_labels, submission, windows
from tonestack.competition.soundscape_labels import NOTHING
from tonestack.competition.soundscape_names import SoundscapeNames, by_name
from tonestack.tables import label_grammar
from tonestack.tables.competition import TIMES, Competition, SubmissionFormat

import pandas as pd
from pydantic import Field

TRAIN = ("train.csv", "train_metadata.csv")
FOCAL = ("train_audio", "train_short_audio")
POOLS = (soundscape_labels.FOLDER, "unlabeled_soundscapes")
TEST = ("test_soundscapes", "test_audio")
HEADERS = {"set": ("row_id", "birds"), "pairs": ("row_id", "target")}
PAIR = "{head}_{class}_{tail}"  # row ids of windows and classes: soundscape_<n>_<bird>_<second>


class Params(Section):
    """Reader settings: the differences between the years."""

    label_column: str = Field("primary_label", description="column of the class in the csv of focal recordings")
    name_column: str = Field(
        "", description="column of the names by which secondary labels call the classes; none given: the classes"
    )
    group_column: str = Field("author", description="column of the recordist, whose recordings stay in one fold")
    secondary: Annotated[float, Field(gt=0, le=1)] | Literal["mask", "ignore"] = Field(
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
    test_csv: bool = Field(False, description="test rows are those of test.csv, not all windows of the files found")
    style: Literal["scores", "set", "pairs"] = Field(
        "scores", description="submission: a probability per class, a set of classes per window, or window x class"
    )


def read(params: Params, root: Path) -> Competition:
    """Read the competition's tables below `root`; of audio files only the lengths are read."""
    source = csvs.first_file(root, TRAIN)
    if source is None:
        raise UserError(f"{root}: there is no {' or '.join(TRAIN)}; check root= or download it")
    names = SoundscapeNames(params.name_pattern, params.group_soundscapes, params.row_stem)
    table, notes = _focal_table(params, source)
    sample = csvs.first_file(root, ("sample_submission.csv",))
    classes = _classes(params, root, table, sample)
    marked, marked_notes = soundscape_labels.read(root, classes, params.window, names)
    train, focal_notes = _focal(params, table, source, classes, verified=marked.empty)
    if len(marked):
        train = pd.concat([train, marked], ignore_index=True)
    heard = set(marked["path"])
    pool = [path for folder in POOLS for path in windows.files_in(root, folder) if path not in heard]
    test, test_notes = _test(params, root, names)
    csvs.check_apart(train["clip_id"], test["clip_id"], root / TEST[0])
    named = [names.facts(clips) for clips in (marked, test) if names.named and len(clips)]
    extras = {"clips": pd.concat(named, ignore_index=True)} if named else {}
    form = _submission(params, sample, classes, test, scored_classes(root))
    pool_table = csvs.test_frame([check_clip_name(path, str(root)) for path in pool], pool)
    said = (*notes, *focal_notes, *marked_notes, *test_notes)
    focal = "focal" if len(marked) else ""
    return Competition(root, train, test, classes, form, extras, said, pool_table, focal, params.name_pattern)


def _focal_table(params: Params, source: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of the csv that are rated well enough, equal ones once, and a note on the others."""
    typed = params.group_column if "group_column" in params.model_fields_set else ""  # by itself it may be missing
    needed = list(dict.fromkeys(filter(None, ["filename", params.label_column, params.name_column, typed])))
    optional = ["secondary_labels", "rating", params.group_column]
    table = csvs.read_table(source, needed, [name for name in optional if name and name not in needed])
    twice, notes = table.duplicated(), list[str]()
    if twice.any():
        notes.append(f"{source.name}: {twice.sum()} rows are there twice, first row {table.index[twice][0]}")
    if params.min_rating and "rating" in table:
        rating = pd.to_numeric(table["rating"], errors="coerce").fillna(0.0)
        low = (rating > 0) & (rating < params.min_rating)
        notes.append(f"{source.name}: {low.sum()} recordings are rated below {params.min_rating:g} and left out")
        table = table[~low]
    return table[~twice.reindex(table.index)], tuple(notes)


def _classes(params: Params, root: Path, focal: pd.DataFrame, sample: Path | None) -> tuple[str, ...]:
    """The classes of the focal recordings, of the taxonomy, of the sample's columns and of the list of scored ones."""
    found = {*focal[params.label_column], *scored_classes(root)}
    taxonomy = csvs.first_file(root, ("taxonomy.csv",))
    if taxonomy is not None:
        found |= set(csvs.read_table(taxonomy, ["primary_label"])["primary_label"])
    if sample is not None and params.style == "scores":
        found |= set(csvs.read_header(sample)[1:])
    return tuple(sorted(found - {"", NOTHING}))


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


def _focal(
    params: Params, table: pd.DataFrame, source: Path, classes: tuple[str, ...], verified: bool
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The focal recordings, and a note on secondary labels that are no classes."""
    labels = csvs.labels(table, params.label_column, source, [*classes, NOTHING])
    files = [name if "/" in name else f"{label}/{name}" for name, label in zip(table["filename"], labels, strict=True)]
    ids = csvs.clip_ids(table.assign(filename=files), "filename", source)
    folder = next((name for name in FOCAL if (source.parent / name).is_dir()), FOCAL[0])
    paths = [csvs.clip_path(folder, name) for name in ids]
    secondary = _secondary(params, table, source, labels)
    known, weight = set(classes), params.secondary if isinstance(params.secondary, float) else float("nan")
    cells = list[str]()
    for label, others in zip(labels, secondary, strict=True):
        kept = [] if params.secondary == "ignore" else [name for name in others if name in known and name != label]
        first = {label: 1.0} if label in known else {}
        cells.append(label_grammar.text(first | dict.fromkeys(kept, weight)))  # NaN is unknown
    unknown = sum(name not in known for others in secondary for name in others)
    notes = (f"{source.name}: {unknown} secondary labels are no classes and are left out",) if unknown else ()
    group = list(table[params.group_column]) if params.group_column in table else ""
    return csvs.train_frame(ids, paths, cells, verified, group).assign(**dict.fromkeys(TIMES, float("nan"))), notes


def _secondary(params: Params, table: pd.DataFrame, source: Path, labels: list[str]) -> list[list[str]]:
    """The secondary labels of every row, by the classes' names where the csv calls them by others."""
    called = dict(zip(table[params.name_column], labels, strict=True)) if params.name_column else {}
    cells = table.get("secondary_labels", pd.Series("", index=table.index))
    lists = [listed(cell, f"{source}: row {row}: 'secondary_labels'") for row, cell in cells.items()]
    return [[called.get(name, name) for name in names] for names in lists]


def listed(cell: str, where: str) -> list[str]:
    """Return the texts of a Python list that a cell holds: `['houspa', 'redava']`; a blank cell holds none."""
    value = label_cells.literal(cell) if cell else []
    if not isinstance(value, list):
        raise UserError(f"{where} is no list such as ['a', 'b']; fix the row")
    return [str(name) for name in value if str(name)]


def _test(params: Params, root: Path, names: SoundscapeNames) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The test rows, and notes on recordings that are absent or cannot be read."""
    folder = next((name for name in TEST if (root / name).is_dir()), TEST[0])
    files = windows.files_in(root, folder)
    if not files:
        none = csvs.test_frame([], []).assign(start=[], end=[])
        return none, (f"{root / folder}: no recording yet, so there is nothing to predict (Kaggle fills it later)",)
    if params.test_csv:
        return _listed_rows(params, root, folder, files), ()
    lengths = windows.lengths(root, files)
    table, unread = windows.of_lengths(lengths, params.window), lengths.index[lengths.isna()]
    ids, paths = names.row_ids(table), list(table["path"])
    twice = pd.Series(ids).duplicated(keep=False)
    if twice.any():
        first, second = pd.unique(table["path"][twice])[:2]
        raise UserError(f"{root}: {first} and {second} have the same row ids; remove one, or give reader.row_stem")
    frame = csvs.test_frame(ids, paths, paths).assign(start=table["start"], end=table["end"])
    notes = f"{root}: {len(unread)} test recordings cannot be read, first {unread.min()}; they get rows like the others"
    return frame, (notes,) if len(unread) else ()


def _listed_rows(params: Params, root: Path, folder: str, files: list[str]) -> pd.DataFrame:
    """The windows of the rows of test.csv (`row_id, site, audio_id, seconds`), and in `row` the row of each.

    A row without a second is a whole recording: it has the maximum over its windows.
    """
    source = root / "test.csv"
    table, there = csvs.read_table(source, ["row_id", "site", "audio_id", "seconds"]), by_name(files)
    csvs.clip_ids(table, "row_id", source)  # refuses blank and repeated ones
    rows = list[tuple[str, str, str, float, float]]()
    for row, name, site, audio, time in table.itertuples(name=None):
        check_clip_name(audio, f"{source}: row {row}")
        path = there.get(audio.lower()) or there.get(f"{audio}_{site}".lower()) or csvs.clip_path(folder, audio)
        end = windows.seconds_of(time)
        if time and (end is None or end < params.window):
            raise UserError(f"{source}: row {row}: seconds '{time}' is not the end of a window of {params.window:g} s")
        if end is not None:
            rows.append((name, name, path, end - params.window, end))
            continue
        whole = windows.of_files(root, [path], params.window)
        spans = zip(whole["start"], whole["end"], strict=True)
        rows += [(f"{name}_{windows.number(end)}", name, path, start, end) for start, end in spans]
    found = pd.DataFrame(rows, columns=["clip_id", "row", "path", *TIMES])
    if found["clip_id"].duplicated().any():
        raise UserError(f"{source}: '{found['clip_id'][found['clip_id'].duplicated()].iloc[0]}' is there twice")
    frame = csvs.test_frame(list(found["clip_id"]), list(found["path"]), list(found["path"]))
    return frame.assign(start=found["start"], end=found["end"], row=found["row"])


def _submission(
    params: Params, sample: Path | None, classes: tuple[str, ...], test: pd.DataFrame, scored: tuple[str, ...]
) -> SubmissionFormat | None:
    """The sample's columns, and the test rows; of pairs those of the classes `scored` (none given: of all)."""
    if test.empty:
        return None
    header = tuple(csvs.read_header(sample) if sample else HEADERS.get(params.style, ("row_id", *classes)))
    clips, pooled = tuple(test["clip_id"]), dict[str, str]()
    if "row" in test:
        pooled = {clip: row for clip, row in zip(clips, test["row"], strict=True) if clip != row}
        clips = tuple(dict.fromkeys(test["row"]))
    if params.style == "scores":
        return SubmissionFormat(header, clips, "scores", pooled=pooled)
    if len(header) != 2:
        raise UserError(f"{sample}: reader.style={params.style} has two columns, there are {len(header)}")
    if params.style == "set":
        return SubmissionFormat(header, clips, "set", nothing=NOTHING, pooled=pooled)
    pairs = submission.pair_ids(PAIR, clips, scored or classes)
    return SubmissionFormat(header, tuple(pairs), "flags", pairs=tuple(pairs.values()), pooled=pooled)
