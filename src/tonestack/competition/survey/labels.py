"""The labels of an unknown csv: their columns, their form, the classes, and the pieces of files that rows are about."""

from typing import Any

from tonestack.base.errors import UserError
from tonestack.competition.survey import columns
from tonestack.competition.survey.finding import Finding, Question

import pandas as pd

FOLDS = 5
MOST_CLASSES = 1000
COMMON = 0.8  # share of clips in one class from which accuracy says little
FORMS = {
    ",": "commas",
    ";": "semicolons",
    "|": "bars",
    " ": "blanks",
    "[]": "list",
}  # what parts labels -> the reader's form
ONE = {"task": "classify", "metric": "accuracy"}
SEVERAL = {"task": "multilabel", "metric": "mean_average_precision"}


def survey(asked: Question, taken: set[str]) -> tuple[list[Finding], set[str]]:
    """What is found out about the labels; and the columns that are taken by now."""
    columns.check(asked.label, list(asked.table.columns), "label")
    candidates = [asked.label] if asked.label else columns.label_columns(asked.table, taken)
    hot = [] if asked.label else columns.one_hot(asked.table, taken)
    if hot and not columns.by_name(candidates, columns.LABELS):
        return [_one_hot(asked.table, hot)], taken | set(hot)
    if not candidates:
        raise UserError(f"{asked.csv}: no column seems to hold labels; say label=COLUMN")
    column, others = candidates[0], candidates[1:4]
    sure = asked.label or columns.by_name(candidates, columns.LABELS) == [column]
    doubt = "" if sure else f"is it this column? {'others: ' + ', '.join(others) if others else 'say label=COLUMN'}"
    cells = asked.table[column]
    mark = columns.label_mark(cells)
    form = {"reader.label": column} | ({"reader.label_form": FORMS[mark]} | SEVERAL if mark else ONE)
    found = [Finding("label", _described(mark, column), form, doubt), *_classes(cells, mark)]
    secondary = _secondary(asked.table, taken | {column}) if not asked.label or not mark else None
    return found + ([secondary] if secondary else []), taken | {column}


def pieces(asked: Question, clip: str, several: bool) -> list[Finding]:
    """Whether rows are about pieces of files. clip: the column of files; several: a clip may have several labels."""
    header, again = list(asked.table.columns), len(asked.table) - asked.table[clip].nunique()
    starts, ends = columns.by_name(header, columns.STARTS), columns.by_name(header, columns.ENDS)
    if not starts or not ends:
        doubt = "one row a label (reader.repeated=unite), or a mistake?"
        return [Finding("pieces", f"{again} rows name a clip again", doubt=doubt)] if again else []
    place = [clip, starts[0], ends[0]]
    said, values = f"{starts[0]} to {ends[0]} of {clip}", {"reader.start": starts[0], "reader.end": ends[0]}
    if not again:
        doubt = f"are these places in the files? then say reader.start={starts[0]} reader.end={ends[0]}"
        return [Finding("pieces", f"{said}, one row a file", doubt=doubt)]
    twice = int(asked.table.duplicated(place).sum())
    if not twice:
        return [Finding("pieces", said, values)]
    doubt = (
        f"{twice} rows name a piece again: their labels are united" if several else f"{twice} rows name a piece again"
    )
    return [Finding("pieces", said, values | ({"reader.repeated": "unite"} if several else {}), doubt)]


def _described(mark: str, column: str) -> str:
    forms = {"": "one label a clip", "[]": "lists as Python writes them", " ": "several labels, separated by blanks"}
    return f"{column}: {forms.get(mark, f'several labels, separated by {mark!r}')}"


def _one_hot(table: pd.DataFrame, hot: list[str]) -> Finding:
    """Columns of 0 and 1: one label a clip if every row has one 1."""
    single = ((table[hot] == "1") | (table[hot] == "1.0")).sum(axis=1).eq(1).all()
    values: dict[str, Any] = {"reader.label": "", "reader.label_form": "columns", "reader.label_columns": hot}
    values |= ONE if single else {"reader.multilabel": True} | SEVERAL
    said = f"{len(hot)} columns of 0 and 1, {'one 1' if single else 'several or none'} a row: {', '.join(hot[:4])} …"
    return Finding("label", said, values, "are all of them classes?")


def _secondary(table: pd.DataFrame, taken: set[str]) -> Finding | None:
    """A column of secondary labels, by its name."""
    found = [column for column in columns.by_name(list(table.columns), columns.SECONDARY) if column not in taken]
    if not found:
        return None
    mark = columns.label_mark(table[found[0]])
    values: dict[str, Any] = {"reader.secondary_label": found[0]}
    values |= {"reader.secondary_form": FORMS.get(mark, "one"), "reader.multilabel": True} | SEVERAL
    doubt = "they count a half: reader.secondary=WEIGHT, mask or ignore"
    return Finding("secondary", _described(mark, found[0]), values, doubt)


def _classes(cells: pd.Series, mark: str) -> list[Finding]:
    """Number and sizes of the classes, and what follows for folds and metric."""
    parts = cells.str.strip("[]").str.split("," if mark == "[]" else mark) if mark else cells.map(lambda cell: [cell])
    single = parts.explode().str.strip(" '\"")
    counts = single[single != ""].value_counts()
    said = f"{len(counts)}: {', '.join(f'{name} ({count})' for name, count in counts.head(4).items())}"
    said += f" … {counts.index[-1]} ({counts.iloc[-1]})" if len(counts) > 4 else ""
    if len(counts) > MOST_CLASSES:
        return [Finding("classes", said, doubt="so many: is this a column of classes?")]
    found = [Finding("classes", said)]
    if small := int((counts < FOLDS).sum()):
        doubt = f"{small} classes have fewer clips than the {FOLDS} folds: join or drop them?"
        found.append(Finding("small", f"smallest: {counts.iloc[-1]} clips", {"folds.small_classes": "warn"}, doubt))
    elif not mark and counts.iloc[0] > COMMON * len(cells):
        doubt = "accuracy would say little"
        found.append(Finding("imbalance", f"most are {counts.index[0]}", {"metric": "balanced_accuracy"}, doubt))
    return found + _nothing(cells, counts, bool(mark))


def _nothing(cells: pd.Series, counts: pd.Series, several: bool) -> list[Finding]:
    """Rows without a label, and words that say that nothing is there."""
    words = [word for word in columns.NOTHING if word in counts.index]
    blank = int((cells == "").sum())
    if not blank and not (words and several):
        return []
    if not several:
        return [Finding("blank", f"{blank} rows have no label", doubt="remove them, or is nothing there?")]
    values = [*words, *([""] if blank else [])]
    said = ", ".join([*words, *([f"{blank} blank cells"] if blank else [])])
    return [Finding("nothing", said, {"reader.nothing": values}, "do they say that nothing is there?")]
