"""The submission's format, read off a sample submission and a few settings."""

import re
from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs, submission
from tonestack.tables.competition import SubmissionFormat

import pandas as pd
from pydantic import Field

YES = {"1", "true", "yes", "positive", "pos"}
NUMBER = re.compile(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", re.IGNORECASE)
PROBABILITY = re.compile("prob|score|confidence")  # a column of these names holds no labels
NOTHING = "nocall"
PAIRED = ("pairs", "flags")


class SampleParams(Section):
    """Where the sample submission is, and how it is understood."""

    sample_submission: str = Field("", description="sample submission; empty: none")
    sample_rows: Literal["all", "example"] = Field(
        "all", description="all: the sample has every row to submit; example: it only shows the columns"
    )
    style: Literal["auto", "label", "labels", "set", "scores", "probability", "pairs", "flags"] = Field(
        "auto",
        description="style of a submission; auto: read off the sample, but for set, pairs (one row a clip and class) "
        "and flags (the same, True or False)",
    )
    positive: str = Field("", description="of two classes the one whose probability a submission has; empty: 1 or yes")
    k: int = Field(
        0, ge=0, description="labels per row of a submission of style labels; 0: as in the sample, 3 without one"
    )
    scored: tuple[str, ...] = Field((), description="classes that a submission speaks of, in its order; empty: all")
    pair: str = Field(
        "{clip}_{class}",
        description="rule of the row ids of pairs and flags: {clip}, {head} and {tail} (before and behind its last _), "
        "{class}, {number} (from 0); {clip}*100+{number} is reckoned up",
    )


def form(
    params: SampleParams,
    root: Path,
    header: tuple[str, str],
    test_ids: list[str],
    classes: tuple[str, ...],
    nothing: str = "",
) -> SubmissionFormat:
    """The format for test clips. header: columns where there is no sample, the first that of the clips in any case.

    nothing: the word of an empty set; none given: `nocall`.
    """
    wrong = next((name for name in params.scored if name not in classes), None)
    if wrong is not None:
        raise UserError(f"reader.scored: '{wrong}' is no class{nearest(wrong, classes)}")
    if not params.sample_submission:
        return _without_sample(params, header, test_ids, classes, nothing)
    source = root / check_clip_name(params.sample_submission, "data: csv")
    table = csvs.read_table(source)
    columns = tuple(map(str, table.columns))
    key = header[0] if header[0] in columns else columns[0]
    rest = [name for name in columns if name != key]
    style = params.style if params.style != "auto" else _style(table, rest, classes)
    if style in PAIRED:
        return _pairs(params, style, columns, key, list(table[key]), test_ids, classes, source)
    ids = test_ids if params.sample_rows == "example" else csvs.clip_ids(table, key, source)
    _check_rows(source, ids, test_ids)
    if style == "scores":
        _check_class_columns(source, rest, classes, params.scored)
    elif len(rest) != 1:
        raise UserError(f"{source}: style '{style}' needs two columns, there are {len(columns)}; say style: scores")
    positive = _positive(params, source, classes) if style == "probability" else ""
    length = _length(params, table, rest, style)
    spoken = _spoken(params, style, positive, classes)
    made = SubmissionFormat(columns, tuple(ids), style, length, key, positive, spoken, nothing or NOTHING)
    return _checked(made, classes)


def _without_sample(
    params: SampleParams, header: tuple[str, str], test_ids: list[str], classes: tuple[str, ...], nothing: str
) -> SubmissionFormat:
    """The format that the settings alone describe; by itself the k best labels."""
    style, ids = "labels" if params.style == "auto" else params.style, tuple(test_ids)
    if style in PAIRED:
        return _pairs(params, style, header, header[0], None, test_ids, classes, Path("reader.pair"))
    columns = (header[0], *(params.scored or classes)) if style == "scores" else header
    positive = _positive(params, Path("reader.style"), classes) if style == "probability" else ""
    spoken = _spoken(params, style, positive, classes)
    made = SubmissionFormat(columns, ids, style, params.k or 3, "", positive, spoken, nothing or NOTHING)
    return _checked(made, classes)


def _pairs(
    params: SampleParams,
    style: str,
    columns: tuple[str, ...],
    key: str,
    rows: list[str] | None,
    test_ids: list[str],
    classes: tuple[str, ...],
    source: Path,
) -> SubmissionFormat:
    """One row a clip and class: those of the sample in its order, or all of the rule."""
    if len(columns) != 2:
        raise UserError(f"{source}: style '{style}' needs two columns, there are {len(columns)}")
    every = submission.pair_ids(params.pair, test_ids, params.scored or classes)
    if rows is None or params.sample_rows == "example":
        rows = list(every)
    odd = next((row for row in rows if row not in every), None)
    if odd is not None:
        raise UserError(
            f"{source}: row '{odd}' is none of the rule '{params.pair}' (such as '{next(iter(every), '')}'); "
            "fix reader.pair or reader.scored, or say reader.sample_rows=example"
        )
    if len(set(rows)) < len(rows):
        raise UserError(f"{source}: a row is there twice; keep one")
    return SubmissionFormat(columns, tuple(rows), style, 1, key, pairs=tuple(every[row] for row in rows))


def _positive(params: SampleParams, source: Path, classes: tuple[str, ...]) -> str:
    """The class whose probability the column has: the configured one, the only one, or the one that says yes."""
    if params.positive in classes or len(classes) == 1:
        return params.positive or classes[0]
    named = [name for name in classes if not params.positive and name.lower() in YES]
    if len(classes) != 2 or len(named) != 1:
        raise UserError(
            f"{source}: one column of probabilities: of which class? Of two classes name one by reader.positive= "
            f"(classes: {', '.join(classes[:5])})"
        )
    return named[0]


def _spoken(params: SampleParams, style: str, positive: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that the file speaks of, where its columns do not say so and it is not all."""
    if style == "probability" and len(classes) > 2:
        return (positive,)
    return () if style == "scores" else params.scored


def _checked(made: SubmissionFormat, classes: tuple[str, ...]) -> SubmissionFormat:
    """Refuse labels separated by blanks where a class name has a blank itself."""
    odd = next((name for name in made.spoken(classes) if len(name.split()) > 1), None)
    if made.style in submission.LISTED and odd is not None:
        raise UserError(
            f"data: style: class '{odd}' has a blank inside, which parts labels; say style: label or rename"
        )
    return made


def _style(table: pd.DataFrame, rest: list[str], classes: tuple[str, ...]) -> str:
    if len(rest) != 1 or rest[0] in classes:
        return "scores"
    cells = set(table[rest[0]])
    numbers = len(classes) <= 2 and all(NUMBER.fullmatch(cell) for cell in cells)
    if numbers and (not cells <= set(classes) or PROBABILITY.search(rest[0].lower())):
        return "probability"
    return "label" if cells <= set(classes) else "labels"


def _length(params: SampleParams, table: pd.DataFrame, rest: list[str], style: str) -> int:
    """Labels per row: as configured, else as many as in the longest row of the sample."""
    if style != "labels":
        return 1
    return params.k or max(1, *(len(cell.split()) for cell in table[rest[0]]))


def _check_rows(source: Path, ids: list[str], test_ids: list[str]) -> None:
    odd = set(ids) ^ set(test_ids)
    if odd:
        raise UserError(
            f"{source}: '{min(odd)}' is only in the sample submission or only among the test clips; fix either, or say "
            "reader.sample_rows=example"
        )


def _check_class_columns(source: Path, columns: list[str], classes: tuple[str, ...], scored: tuple[str, ...]) -> None:
    """Every column is a class, and every class that counts has a column."""
    for name in columns:
        if name not in classes:
            raise UserError(f"{source}: the column '{name}' is no class of the train csv{nearest(name, classes)}")
    for name in scored or classes:
        if name not in columns:
            raise UserError(
                f"{source}: class '{name}' has no column{nearest(name, columns)}; where some classes are not scored, "
                "name the others by reader.scored"
            )
