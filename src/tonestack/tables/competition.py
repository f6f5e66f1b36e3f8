"""A competition as tables: the result of a reader. No audio is opened."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.text import LETTERS, check_text, looks, means
from tonestack.tables.label_grammar import check_class

import pandas as pd

TIMES = ["start", "end"]  # columns of clips that are pieces of their files, seconds
RESERVED = re.compile(r"clip_id|fname|part|holdout|label|weight|source|__index_level_\d+__|Unnamed: \d+")


@dataclass(frozen=True)
class SubmissionFormat:
    """The competition's own submission format.

    style: `labels` (one column of the k best labels, separated by blanks), `label` (the best one), `set` (all labels
    from one half on, separated by blanks, or the word `nothing`), `scores` (one column per class,
    probabilities), `probability` (one column, of the class `positive`), `pairs` (one column, the probability of one
    clip and class a row, those of `pairs`), `flags` (the same, True from one half on) or `raw` (values of any
    size). `columns` are the file's header in order, `ids` its rows in order; `id_column` is the clips' column where it
    is not the first. classes: those that the file speaks of, in its order; none given: the columns of `scores`, the
    classes of `pairs`, else all. Metrics leave the others out where a clip may have several. pooled: where a row is
    about several clips, such as the windows of a recording, what each test clip belongs to; the row has the maximum
    over its clips.
    """

    columns: tuple[str, ...]
    ids: tuple[str, ...]
    style: str = "labels"
    k: int = 3
    id_column: str = ""
    positive: str = ""
    classes: tuple[str, ...] = ()
    nothing: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    pooled: dict[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> tuple[str, ...]:
        """What the rows are about, each once: the clips of `pairs`, else `ids`."""
        return tuple(dict.fromkeys(clip for clip, _ in self.pairs)) if self.pairs else self.ids

    @property
    def key(self) -> str:
        """The column of the ids."""
        return self.id_column or self.columns[0]

    @property
    def rest(self) -> tuple[str, ...]:
        """The columns of labels or scores, in order."""
        return tuple(column for column in self.columns if column != self.key)

    def spoken(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The classes that the file speaks of, in its order; `classes`: all of them."""
        if self.pairs:
            return tuple(dict.fromkeys(name for _, name in self.pairs))
        return self.classes or (self.rest if self.style in ("scores", "raw") else tuple(classes))


@dataclass(frozen=True)
class Competition:
    """A competition's csv files, read and checked.

    train: one row per labelled clip: `clip_id, path, label, verified, group, fold`; `path` is relative to
        `root`; `group` is text, empty where no grouping is known; `fold` is the official fold or -1.
        For multi-label tasks `label` is a cell of `tables/label_grammar.py`, such as `owl,wren:0.5,?hawk`.
    test: one row per clip to predict: `clip_id, path, group`. May be empty (cross-validation only).
    pool: recordings without labels, `clip_id, path, group`: never scored, for pseudo-labels and as backgrounds.
        All three may have `start` and `end`, seconds: the clip is that piece of its file; NaN: the whole file.
    classes: the labels' own spelling, sorted.
    submission: the format of the sample submission, None where there is no test set.
    extras: further tables of a task (trial lists, prompts), by name; `clips` has what else is known of clips.
    notes: messages that are printed when the folds are made or used.
    unverified: what unverified clips are called where their score is printed apart; empty: it is not.
    name_pattern: regular expression of a recording's name without suffix, with groups such as `site` and `hour`.
    """

    root: Path
    train: pd.DataFrame
    test: pd.DataFrame
    classes: tuple[str, ...]
    submission: SubmissionFormat | None
    extras: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pool: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["clip_id", "path", "group"]))
    unverified: str = ""
    name_pattern: str = ""

    @property
    def clips(self) -> pd.DataFrame:
        """All clips, `clip_id, path, part, start, end`, train before test before pool; one of two parts counts once."""
        parts = {"train": self.train, "test": self.test, "pool": self.pool}
        tables = [
            table.reindex(columns=["clip_id", "path", *TIMES]).astype(dict.fromkeys(TIMES, float)).assign(part=part)
            for part, table in parts.items()
            if len(table) or part == "train"
        ]
        clips = pd.concat(tables, ignore_index=True)
        return clips.drop_duplicates(["clip_id", "path", *TIMES]).reset_index(drop=True)

    @property
    def clips_by_id(self) -> pd.DataFrame:
        """The same by `clip_id`, each once: `path, part, start, end`."""
        return self.clips.drop_duplicates("clip_id").set_index("clip_id")

    def checked(self, several: bool = False) -> "Competition":
        """Return the competition with a note on classes that may be one; impossible classes are a `UserError`.

        A class name must fit a column of every table and look like no other's; one class alone tells nothing apart.

        several: a clip may have several labels, so that a name must fit into a list of them.
        """
        forms: dict[str, str] = {}
        for name in self.classes:
            other = forms.setdefault(looks(name), name)
            if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name) and other != name:
                raise UserError(
                    f"{self.root}: class '{name}' is there in two Unicode forms (é as one sign, and as two); "
                    "write it in one (in Python: unicodedata.normalize('NFC', text))"
                )
            if other != name:
                raise UserError(
                    f"{self.root}: classes {other!a} and {name!a} look the same: they differ in blanks or in signs "
                    "that cannot be seen; write them alike"
                )
            check_text(name, f"{self.root}: class")
            if RESERVED.fullmatch(name):
                raise UserError(f"{self.root}: class '{name}' is called like a column of our own tables; rename it")
            if several:
                check_class(name, f"{self.root}: class")
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise UserError(f"{self.root}: class '{twice}' is named twice (reader.classes); name it once")
        if len(self.classes) == 1 and not several:
            raise UserError(
                f"{self.root}: every clip is of the one class '{self.classes[0]}', so there is nothing to tell apart; "
                "check the column or the folders of the labels"
            )
        return replace(self, notes=self.notes + _alike(self.classes))


def _alike(classes: Sequence[str]) -> tuple[str, ...]:
    """A note on classes whose names differ in case, alphabet, blanks or in how a number is written alone."""
    meant: dict[str, list[str]] = {}
    for name in classes:
        meant.setdefault(means(name), []).append(name)
    alike = [names for names in meant.values() if len(names) > 1]
    if not alike:
        return ()
    pair, more = " and ".join(f"'{name}'" for name in alike[0]), f" ({len(alike)} such)" if len(alike) > 1 else ""
    same = len({name.translate(LETTERS) for name in alike[0]}) == 1
    pair += f" (in letters of several alphabets: {' and '.join(map(ascii, alike[0]))})" if same else ""
    return (f"classes {pair}{more} count as different; if they are one, write them alike",)
