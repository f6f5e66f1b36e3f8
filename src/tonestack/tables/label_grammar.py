"""Label cells of clips with several labels: the one text `label` of the train table, of r0.csv and of revisions.

    owl,wren:0.5,?hawk,!crow      owl is there, wren counts a half, hawk is unknown, crow is known to be absent
    !crow,?*                      every class that is not named is unknown (partial labels)
                                  an empty cell: nothing is there

Classes that are not named are absent, unless `?*` is said. A weight lies above 0 and at most at 1. A class counts as
there from a weight of a half on, in scores, folds and reports alike; below, it only teaches networks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from tonestack.base.errors import UserError, nearest

import numpy as np
import pandas as pd

SEPARATOR = ","
UNKNOWN_MARK, ABSENT_MARK, OTHERS = "?", "!", "?*"
PRESENT = 0.5  # the least weight of a class that counts as there
UNKNOWN = -1  # in truth (N, C) int8, beside 0 and 1: a cell that metrics leave out
WEIGHT = re.compile(r"(.*):([0-9.]+(?:[eE][-+]?[0-9]+)?)", re.DOTALL)


def parse(cell: str) -> dict[str, float]:
    """The weight of every name of a cell: 1 or less where it is there, 0 where it is absent, NaN where it is unknown.

    `*` stands for all other classes. An empty part, a weight outside (0, 1] or a name with two meanings is a
    `UserError`.
    """
    found: dict[str, float] = {}
    for part in cell.split(SEPARATOR) if cell.strip() else ():
        name, weight = _parsed(part.strip(), cell)
        if not np.array_equal(found.setdefault(name, weight), weight, equal_nan=True):
            raise UserError(f"label '{cell}' says two things of '{name}'; keep one")
    return found


def _parsed(part: str, cell: str) -> tuple[str, float]:
    mark, name, weight = part[:1], part, 1.0
    if mark in (UNKNOWN_MARK, ABSENT_MARK):
        name, weight = part[1:], np.nan if mark == UNKNOWN_MARK else 0.0
    elif weighed := WEIGHT.fullmatch(part):
        name, weight = weighed[1], _weight(weighed[2], cell)
    if not name or name[0] in UNKNOWN_MARK + ABSENT_MARK or (name == "*" and mark != UNKNOWN_MARK):
        raise UserError(f"label '{cell}' has a part '{part}' that names no class; write it as owl,wren:0.5,?hawk,!crow")
    return name, weight


def _weight(text: str, cell: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 < weight <= 1:
        raise UserError(f"label '{cell}': weight {text} is not above 0 and at most 1; write ! before an absent class")
    return weight


def text(weights: Mapping[str, float]) -> str:
    """Write a cell from the weights of names, `*` for all others: the inverse of `parse`."""
    return SEPARATOR.join(_part(name, float(weight)) for name, weight in weights.items())


def _part(name: str, weight: float) -> str:
    if np.isnan(weight) or weight in (0, 1):
        return {0.0: ABSENT_MARK, 1.0: ""}.get(weight, UNKNOWN_MARK) + name
    return f"{name}:{np.format_float_positional(weight, precision=6, fractional=False, trim='-')}"


def unite(cells: Sequence[str]) -> str:
    """The cell of several rows of one clip: a class has its largest weight, and is unknown where no row knows it."""
    if len(set(cells)) == 1:
        return cells[0]
    rows = [parse(cell) for cell in cells]
    names = dict.fromkeys(name for row in rows for name in row)
    weights = {name: [row.get(name, row.get("*", 0.0)) for row in rows] for name in names}
    largest = {name: max((w for w in found if not np.isnan(w)), default=np.nan) for name, found in weights.items()}
    open_ended = np.isnan(largest.pop("*", 0.0))
    kept = {name: weight for name, weight in largest.items() if weight != 0 or open_ended}
    return text(kept | ({"*": np.nan} if open_ended else {}))


def present(cell: str) -> list[str]:
    """The classes that count as there: those with a weight from a half on, in the cell's order."""
    return [name for name, weight in parse(cell).items() if weight >= PRESENT]


def strata(cell: str) -> list[str]:
    """What folds are stratified by: the classes that are there; without any the absent ones (`!crow`), `?*` or ''."""
    weights = parse(cell)
    there = [name for name, weight in weights.items() if weight >= PRESENT]
    absent = [ABSENT_MARK + name for name, weight in weights.items() if weight == 0]
    return there or absent or [OTHERS if "*" in weights else ""]


def is_class(stratum: str) -> bool:
    """True if one of `strata` is a class that is there."""
    return stratum not in ("", OTHERS) and not stratum.startswith(ABSENT_MARK)


def encode(cells: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """Weights (n, C) float32 of the classes in every cell, NaN where unknown; a name outside them is a `UserError`."""
    codes, distinct = pd.factorize(np.array([str(cell) for cell in cells], dtype=object))
    place = {name: number for number, name in enumerate(classes)}
    rows = np.zeros((len(distinct), len(classes)), dtype=np.float32)
    for row, cell in zip(rows, distinct, strict=True):
        weights = parse(cell)
        if np.isnan(weights.pop("*", 0.0)):
            row[:] = np.nan
        for name, weight in weights.items():
            if name not in place:
                raise UserError(f"label '{name}' is not among the {len(classes)} classes{nearest(name, classes)}")
            row[place[name]] = weight
    return rows[codes]


def truth(weights: np.ndarray) -> np.ndarray:
    """What scores count (..., C) int8 of weights: 1 from a half on, 0 below, `UNKNOWN` where the weight is NaN."""
    return np.where(np.isnan(weights), UNKNOWN, weights >= PRESENT).astype(np.int8)


def check_class(name: str, where: str) -> None:
    """Refuse a class that no cell can hold, as `UserError` beginning with `where`."""
    bad = SEPARATOR in name or name != name.strip() or name[:1] in (UNKNOWN_MARK, ABSENT_MARK, "") or name == "*"
    if bad or WEIGHT.fullmatch(name):
        raise UserError(
            f"{where} '{name}' cannot stand in a list of labels, where ',' parts them, '?' and '!' come first and a "
            "':' with a number last; rename it"
        )
