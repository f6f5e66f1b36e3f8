"""Any competition that ships a csv of clips and labels and a folder of audio: the names are settings."""

import re
from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd
from pydantic import Field

LIST = re.compile(r"[\[({].*[\])}]")  # a list as Python or JSON writes it
LIST_MARKS = (";", "|", "/", "+")  # between labels that each occur by themselves as well
YES = {"1", "true", "yes", "positive", "pos"}
NUMBER = re.compile(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", re.IGNORECASE)
PROBABILITY = re.compile("prob|score|confidence")  # a column of these names holds no labels


class Params(Section):
    """Paths below the root and names of the columns; an empty name means "there is none".

    `train_suffix`/`test_suffix` are appended to a clip's id to get its file name (`.wav` where the csv gives bare ids).
    `style: auto` derives the submission's style from the sample: one column per class is `scores`; one class name per
    cell is `label`; numbers that are no classes, of two classes, are the `probability` of `positive`; anything else is
    `labels`, the `k` best separated by blanks (`k: 0`: as many as
    in the sample's rows).
    """

    train_csv: str = Field("train.csv", description="csv of the training clips")
    clip: str = Field("fname", description="column of the clip ids")
    label: str = Field("label", description="column of the labels")
    verified: str = Field("", description="column that is 1 where a person checked the label; empty: none")
    group: str = Field("", description="column of the group that folds keep together; empty: none")
    fold: str = Field("", description="column of the official folds; empty: none")
    first_fold: int = Field(0, description="number of the first fold in the csv")
    multilabel: bool = Field(False, description="a cell of the label column holds several labels, separated by commas")
    classes: tuple[str, ...] = Field((), description="labels allowed; none given: those of the train csv")
    train_audio: str = Field("audio_train", description="folder of the training recordings")
    test_audio: str = Field("audio_test", description="folder of the test recordings")
    train_suffix: str = Field("", description="appended to a training clip's id to get its file name")
    test_suffix: str = Field("", description="appended to a test clip's id to get its file name")
    test_csv: str = Field("", description="csv of the test clips; empty: the sample submission's rows")
    test_clip: str = Field("", description="column of the test csv's clip ids; empty: as in the train csv")
    sample_submission: str = Field("", description="sample submission; empty: none")
    style: Literal["auto", "label", "labels", "scores", "probability"] = Field(
        "auto", description="style of a submission; auto: read off the sample"
    )
    positive: str = Field("", description="of two classes the one whose probability a submission has; empty: 1 or yes")
    k: int = Field(
        0, ge=0, description="labels per row of a submission of style labels; 0: as in the sample, 3 without one"
    )
    scoring_csv: str = Field("", description="csv of the test labels, if they are known; empty: none")


def read(params: Params, root: Path) -> Competition:
    """Read the csv files named in `params` below `root`; the audio may be absent."""
    train, labels = _train(params, root)
    classes = _classes(params, root, labels)
    source, table = _test_rows(params, root)
    if source is None or table is None:
        return Competition(root, train, csvs.test_frame([], []), classes, None)
    ids = csvs.clip_ids(table, table.columns[0], source)
    csvs.check_apart(train["clip_id"], ids, source)
    paths = [csvs.clip_path(params.test_audio, i, params.test_suffix) for i in ids]
    group = list(table[params.group]) if params.group in table.columns[1:] else ""
    test = csvs.test_frame(ids, paths, group)
    return Competition(root, train, test, classes, _submission(params, root, ids, classes))


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of test labels (with a `usage` column) named in the settings, if it is there."""
    return csvs.first_file(root, [params.scoring_csv] if params.scoring_csv else [])


def _train(params: Params, root: Path) -> tuple[pd.DataFrame, list[str]]:
    """The train frame, and every label that occurs in it."""
    source = _below(root, params.train_csv)
    wanted = [params.clip, params.label, *filter(None, (params.verified, params.group, params.fold))]
    table = csvs.read_table(source, list(dict.fromkeys(wanted)))
    ids = csvs.clip_ids(table, params.clip, source)
    texts, labels = _labels(params, table, source)
    verified = csvs.flags(table, params.verified, source) if params.verified else True
    group = list(table[params.group]) if params.group else ""
    paths = [csvs.clip_path(params.train_audio, i, params.train_suffix) for i in ids]
    return csvs.train_frame(ids, paths, texts, verified, group, _folds(params, table, source)), labels


def _labels(params: Params, table: pd.DataFrame, source: Path) -> tuple[list[str], list[str]]:
    """Each row's label (multi-label: comma-separated, stripped), and every single label, checked."""
    _refuse_lists(params, table, source)
    if not params.multilabel:
        labels = csvs.labels(table, params.label, source, params.classes or None)
        return labels, labels
    return csvs.label_lists(table, params.label, source, params.classes or None)


def _refuse_lists(params: Params, table: pd.DataFrame, source: Path) -> None:
    """Ask about cells that seem to hold several labels in another form than commas: each would be a class."""
    cells = table[params.label]
    parted = {name.strip() for cell in cells for name in cell.split(",")} if params.multilabel else set()
    known = set(cells) | parted
    for row, cell in zip(table.index, cells, strict=True):
        marks = [mark for mark in LIST_MARKS if mark in cell and known.issuperset(p.strip() for p in cell.split(mark))]
        if LIST.fullmatch(cell) or marks:
            raise UserError(
                f"{source}: row {row}: '{params.label}' is {cell!r}, which seems to be several labels; "
                "write them separated by commas and say reader.multilabel=true task=multilabel"
            )


def _folds(params: Params, table: pd.DataFrame, source: Path) -> list[int] | int:
    if not params.fold:
        return -1
    folds = [fold - params.first_fold for fold in csvs.integers(table, params.fold, source)]
    if min(folds) < 0:
        row = table.index[folds.index(min(folds))]
        raise UserError(f"{source}: row {row}: '{params.fold}' is below first_fold {params.first_fold}; fix either")
    return folds


def _classes(params: Params, root: Path, labels: list[str]) -> tuple[str, ...]:
    return tuple(sorted(params.classes or set(labels)))


def _test_rows(params: Params, root: Path) -> tuple[Path | None, pd.DataFrame | None]:
    """The test clips' csv and its rows, clip column first: the sample submission's rows, else the test csv's."""
    if params.test_csv:
        source = _below(root, params.test_csv)
        return source, csvs.read_table(source, [params.test_clip or params.clip], [params.group])
    if params.sample_submission:
        source = _below(root, params.sample_submission)
        return source, csvs.read_table(source, [_id_column(params, source)])
    return None, None


def _id_column(params: Params, sample: Path) -> str:
    """The sample submission's clip column: the configured one where it is there, else its first column."""
    header = csvs.read_header(sample)
    return next((name for name in (params.test_clip, params.clip) if name in header), header[0])


def _submission(params: Params, root: Path, test_ids: list[str], classes: tuple[str, ...]) -> SubmissionFormat:
    if not params.sample_submission:
        columns = (params.test_clip or params.clip, params.label)
        return _checked(SubmissionFormat(columns, tuple(test_ids), "labels", params.k or 3), classes)
    source = _below(root, params.sample_submission)
    table = csvs.read_table(source)
    column = _id_column(params, source)
    ids = csvs.clip_ids(table, column, source)
    _check_rows(source, ids, test_ids)
    header = tuple(map(str, table.columns))
    rest = [name for name in header if name != column]
    style = params.style if params.style != "auto" else _style(table, rest, classes)
    if style == "scores":
        _check_class_columns(source, rest, classes)
    elif len(rest) != 1:
        raise UserError(f"{source}: style '{style}' needs two columns, there are {len(header)}; say style: scores")
    positive = _positive(params, source, classes) if style == "probability" else ""
    length = _length(params, table, rest, style)
    return _checked(SubmissionFormat(header, tuple(ids), style, length, column, positive), classes)


def _positive(params: Params, source: Path, classes: tuple[str, ...]) -> str:
    """The class whose probability the column has: the configured one, or the one that says yes."""
    named = [name for name in classes if name == params.positive or (not params.positive and name.lower() in YES)]
    if len(classes) != 2 or len(named) != 1:
        raise UserError(
            f"{source}: one column of probabilities: of which class? Of two classes name one by reader.positive= "
            f"(classes: {', '.join(classes[:5])})"
        )
    return named[0]


def _checked(submission: SubmissionFormat, classes: tuple[str, ...]) -> SubmissionFormat:
    """Refuse labels separated by blanks where a class name has a blank itself."""
    odd = next((name for name in classes if len(name.split()) > 1), None)
    if submission.style == "labels" and odd is not None:
        raise UserError(
            f"data: style: class '{odd}' has a blank inside, which parts labels; say style: label or rename"
        )
    return submission


def _style(table: pd.DataFrame, rest: list[str], classes: tuple[str, ...]) -> str:
    if len(rest) != 1 or rest[0] in classes:
        return "scores"
    cells = set(table[rest[0]])
    numbers = len(classes) == 2 and all(NUMBER.fullmatch(cell) for cell in cells)
    if numbers and (not cells <= set(classes) or PROBABILITY.search(rest[0].lower())):
        return "probability"
    return "label" if cells <= set(classes) else "labels"


def _length(params: Params, table: pd.DataFrame, rest: list[str], style: str) -> int:
    """Labels per row: as configured, else as many as in the longest row of the sample."""
    if style != "labels":
        return 1
    return params.k or max(1, *(len(cell.split()) for cell in table[rest[0]]))


def _check_rows(source: Path, ids: list[str], test_ids: list[str]) -> None:
    odd = set(ids) ^ set(test_ids)
    if odd:
        raise UserError(f"{source}: '{min(odd)}' is in only one of the test csv and the sample submission; fix either")


def _check_class_columns(source: Path, columns: list[str], classes: tuple[str, ...]) -> None:
    for name in columns:
        if name not in classes:
            raise UserError(f"{source}: the column '{name}' is no class of the train csv{nearest(name, classes)}")
    for name in classes:
        if name not in columns:
            raise UserError(f"{source}: class '{name}' has no column{nearest(name, columns)}")


def _below(root: Path, name: str) -> Path:
    return root / check_clip_name(name, "data: csv")
