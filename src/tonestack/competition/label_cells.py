"""Labels as competitions ship them, read into cells of `tables/label_grammar.py`.

One column or two (primary and secondary labels), one column a class, or a part of the file's name; one label a cell or
several in a named form. Labels stay text, whatever they look like.
"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from tonestack.base.errors import UserError, nearest
from tonestack.base.section import Section, compiled
from tonestack.tables import label_grammar

import numpy as np
import pandas as pd
from pydantic import Field

Form = Literal["one", "commas", "semicolons", "bars", "blanks", "list", "columns", "cells"]
MARKS = {"commas": ",", "semicolons": ";", "bars": "|"}
LONGEST = 100_000  # characters of a list in a cell
LONGEST_NAME = 255  # characters of a name that a pattern is searched in: a pattern of nested repeats may be slow
LIST = re.compile(r"[\[({].*[\])}]")  # a list as Python or JSON writes it
LIST_MARKS = (";", "|", "/", "+")  # between labels that each occur by themselves as well
UNKNOWN_CELLS = ("", "?", "-1", "-1.0")  # of a column of 0 and 1


class LabelParams(Section):
    """Where the labels are, in which form, and which classes they make."""

    label: str = Field("label", description="column of the labels; empty: they are in columns or in the file's name")
    label_form: Form = Field(
        "one",
        description="one label a cell; several separated by commas, semicolons, bars or blanks; a Python list; one "
        "column a class (columns); or cells such as owl,wren:0.5,?hawk,!crow",
    )
    multilabel: bool = Field(False, description="a clip may have several labels: by itself label_form=commas")
    label_columns: tuple[str, ...] = Field(
        (), description="columns of label_form=columns; none given: the classes, else all columns not named otherwise"
    )
    secondary_label: str = Field("", description="column of secondary labels; empty: none")
    secondary_form: Form = Field("list", description="form of the secondary labels, as label_form")
    secondary: Annotated[float, Field(gt=0, le=1)] | Literal["mask", "ignore"] = Field(
        0.5, description="secondary labels: their weight, mask (unknown) or ignore (absent)"
    )
    nothing: tuple[str, ...] = Field(
        (), description="labels that say that nothing is there, such as nocall; '' for a blank cell"
    )
    label_map: dict[str, str] = Field({}, description="classes of some labels: {label: class}")
    others: str = Field("", description="class of all labels that are not among the classes; empty: refused")
    classes: tuple[str, ...] = Field((), description="labels allowed; none given: those of the train csv")
    name_pattern: str = Field(
        "",
        description="regular expression searched for in a clip's file name, with groups such as (?P<label>...), "
        "(?P<group>...)",
    )

    @property
    def several(self) -> bool:
        """True if a clip may have several labels."""
        return self.multilabel or self.label_form in ("commas", "semicolons", "bars", "blanks", "list", "cells")


def read(params: LabelParams, table: pd.DataFrame, names: list[str], path: Path, taken: Iterable[str]) -> list[str]:
    """The label of each row of `table`, or its cell of labels where a clip may have several; none is blank unless
    nothing is there.

    names: the clips' files, for `name_pattern`. taken: columns that hold something else. Faults are `UserError` naming
    the row.
    """
    if params.label_form == "columns":
        return _of_columns(params, table, path, taken)
    cells = _cells(params, table, names, path)
    if params.label:
        _refuse_lists(params, cells, path)
    secondary = table[params.secondary_label] if params.secondary_label else pd.Series("", index=table.index)
    found = []
    for row, cell, other in zip(table.index, cells, secondary, strict=True):
        where = f"{path}: row {row}"
        weights = _weights(params, cell, f"{where}: '{params.label or 'name_pattern'}'")
        for name in _secondary(params, other, f"{where}: '{params.secondary_label}'"):
            weights.setdefault(name, np.nan if params.secondary == "mask" else float(params.secondary))
        found.append(_text(params, weights, where))
    return found


def classes_of(params: LabelParams, texts: Iterable[str]) -> tuple[str, ...]:
    """The classes given, with that of the others, or all that the labels name; sorted."""
    if params.classes:
        return tuple(sorted({*params.classes, *filter(None, [params.others]), *params.label_map.values()}))
    if not params.several:
        return tuple(sorted(set(texts)))
    return tuple(sorted({name for text in set(texts) for name in label_grammar.parse(text)} - {"*"}))


def named(params: LabelParams, names: Iterable[str], group: str) -> list[str]:
    """What a group of `name_pattern` says of each file's name; '' where the pattern is not found."""
    pattern = _compiled(params)
    return [_searched(pattern, name).get(group, "") for name in names]


def groups_named(params: LabelParams) -> list[str]:
    """The named groups of `name_pattern`."""
    return list(_compiled(params).groupindex) if params.name_pattern else []


def _compiled(params: LabelParams) -> re.Pattern[str]:
    return compiled(params.name_pattern, "reader.name_pattern")


def _searched(pattern: re.Pattern[str], name: str) -> dict[str, str]:
    last = PurePosixPath(name).name
    if len(last) > LONGEST_NAME:
        raise UserError(f"'{last[:40]}…': a name of {len(last)} characters is too long to search in; rename the file")
    found = pattern.search(last)
    return {} if found is None else {key: value or "" for key, value in found.groupdict().items()}


def _cells(params: LabelParams, table: pd.DataFrame, names: list[str], path: Path) -> pd.Series:
    """The cells of the label column, or what `name_pattern` says."""
    if params.label:
        return table[params.label]
    if "label" not in groups_named(params):
        raise UserError("reader.label: give the column of the labels, or reader.name_pattern with (?P<label>...)")
    cells = named(params, names, "label")
    for row, name, cell in zip(table.index, names, cells, strict=True):
        if not cell and "" not in params.nothing:
            raise UserError(f"{path}: row {row}: reader.name_pattern finds no label in '{name}'; fix the pattern")
    return pd.Series(cells, index=table.index, dtype=object)


def _weights(params: LabelParams, cell: str, where: str) -> dict[str, float]:
    """The weights of a cell's classes; empty where nothing is there."""
    form = "commas" if params.multilabel and params.label_form == "one" else params.label_form
    if form == "cells":
        try:
            weights = label_grammar.parse(cell)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if not weights and "" not in params.nothing:
            raise UserError(f"{where} is blank; give its label, or reader.nothing=['']")
        return _surest((_class(params, n, where) if n != "*" else n, weight) for n, weight in weights.items())
    found = [name for name in split(cell, form, where) or [""] if name not in params.nothing]
    return {_class(params, name, where): 1.0 for name in found}


def _surest(weights: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The weight of every class, of which several labels may speak: 1, else unknown, else the largest."""
    found: dict[str, float] = {}
    for name, weight in weights:
        known = found.setdefault(name, weight)
        if known != 1 and (weight == 1 or np.isnan(weight) or weight > known):
            found[name] = weight
    return found


def _secondary(params: LabelParams, cell: str, where: str) -> list[str]:
    """The classes of a cell of secondary labels; those that are no classes are left out."""
    if params.secondary == "ignore" or not cell:
        return []
    known = {*params.classes, *params.label_map.values(), params.others}
    found = [params.label_map.get(name, name) for name in split(cell, params.secondary_form, where)]
    return [n for n in found if n and n not in params.nothing and (not params.classes or n in known)]


def split(cell: str, form: str, where: str) -> list[str]:
    """The labels of a cell in one of the forms, stripped, none twice; a blank cell has none."""
    if form == "list":
        return listed(cell, where)
    if form == "blanks":
        return list(dict.fromkeys(cell.split()))
    if form not in MARKS or not cell:
        return [cell] if cell else []
    found = [name.strip() for name in cell.split(MARKS[form])]
    if "" in found:
        raise UserError(f"{where} is '{cell}', with a blank label; remove the sign before or behind it")
    return list(dict.fromkeys(found))


def listed(cell: str, where: str) -> list[str]:
    """The texts of a Python list that a cell holds, `['houspa', 'redava']`, none twice; a blank cell holds none."""
    value = literal(cell) if cell else []
    if not isinstance(value, list | tuple | set) or not all(isinstance(name, str | int) for name in value):
        raise UserError(f"{where} is no list such as ['a', 'b']; fix the row")
    names = sorted(map(str, value)) if isinstance(value, set) else list(map(str, value))
    return [name for name in dict.fromkeys(name.strip() for name in names) if name]


def literal(cell: str) -> object:
    """The value of a Python literal of bounded length; None where a cell holds none."""
    try:
        return ast.literal_eval(cell) if len(cell) <= LONGEST else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _class(params: LabelParams, label: str, where: str) -> str:
    """The class of a label; one that is none is a `UserError`."""
    name = params.label_map.get(label, label)
    if not name:
        raise UserError(f"{where} is blank; give its label, remove the row, or say what it means by reader.nothing")
    known = {*params.classes, *params.label_map.values()}
    if params.classes and name not in known:
        if params.others:
            return params.others
        raise UserError(f"{where}: unknown label '{name}'{nearest(name, params.classes)}")
    return name


def _text(params: LabelParams, weights: dict[str, float], where: str) -> str:
    if params.several:
        return label_grammar.text(weights)
    names = [name for name, weight in weights.items() if weight == 1]
    if len(names) != 1 or len(weights) != 1:
        raise UserError(
            f"{where}: has {len(names)} labels where a clip has one; say reader.multilabel=true task=multilabel"
        )
    return names[0]


def _of_columns(params: LabelParams, table: pd.DataFrame, path: Path, taken: Iterable[str]) -> list[str]:
    """Labels of columns of 0 and 1; weights between them, and blank or -1 for unknown, where there may be several."""
    rest = [column for column in table.columns if column not in set(taken)]
    columns = list(params.label_columns or params.classes or rest)
    missing = next((column for column in columns if column not in table.columns), None)
    if missing is not None:
        raise UserError(f"{path}: there is no column '{missing}'{nearest(missing, rest)}")
    found = []
    for row, *cells in table[columns].itertuples(name=None):
        where = f"{path}: row {row}"
        weights = [_number(cell, f"{where}: '{column}'") for column, cell in zip(columns, cells, strict=True)]
        names = [params.label_map.get(column, column) for column in columns]
        there = [(name, weight) for name, weight in zip(names, weights, strict=True) if weight != 0]
        found.append(_text(params, _surest(there), where))
    return found


def _number(cell: str, where: str) -> float:
    try:
        weight = np.nan if cell in UNKNOWN_CELLS else float(cell)
    except ValueError:
        weight = -1.0
    if not (np.isnan(weight) or 0 <= weight <= 1) or cell.lower() == "nan":
        raise UserError(f"{where} is '{cell}', not 0, 1, a weight between them, or blank for unknown; fix the row")
    return weight


def _refuse_lists(params: LabelParams, cells: pd.Series, path: Path) -> None:
    """Ask about cells that seem to hold several labels in another form than said: each would be a class."""
    if params.label_form not in ("one", "commas"):
        return
    said = not params.several and "label_form" in params.model_fields_set
    parted = {name.strip() for cell in cells for name in cell.split(",")} if params.several else set()
    known = set(cells) | parted
    for row, cell in zip(cells.index, cells, strict=True):
        if cell in params.classes:
            continue
        marks = [mark for mark in LIST_MARKS if mark in cell and known.issuperset(p.strip() for p in cell.split(mark))]
        if (LIST.fullmatch(cell) and not said) or marks:
            raise UserError(
                f"{path}: row {row}: '{params.label}' is {cell!r}, which seems to be several labels; say their form by "
                "reader.label_form (list, semicolons, bars, blanks), and task=multilabel; if it is one class's name, "
                + ("list it in reader.classes" if params.several else "say reader.label_form=one")
            )
