"""Names of soundscapes: the site or hour that a file's name says, and its part of the row ids of its windows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name
from tonestack.base.section import compiled
from tonestack.competition import windows

import pandas as pd


class SoundscapeNames:
    """What the names of soundscapes say, by two regular expressions that are searched for in a name without suffix.

    pattern: has named groups, such as `(?P<site>S\\d+)`. group: one of them, whose recordings stay in one fold.
    row_stem: its first group is the file's part of a row id; without it, the whole name is.
    """

    def __init__(self, pattern: str, group: str, row_stem: str) -> None:
        self.pattern = compiled(pattern, "reader.name_pattern") if pattern else None
        self.stem = compiled(row_stem, "reader.row_stem") if row_stem else None
        self.group = group
        if group and group not in self.named:
            raise UserError(f"reader.group_soundscapes: reader.name_pattern has no group (?P<{group}>...)")
        if self.stem and not self.stem.groups:
            raise UserError(f"reader.row_stem: '{row_stem}' has no group; write (...) around the part of the row id")

    @property
    def named(self) -> list[str]:
        """The groups of the pattern."""
        return list(self.pattern.groupindex) if self.pattern else []

    def group_of(self, path: str) -> str:
        """The group of a recording's windows: what the name says, else the recording itself."""
        return self._said(path).get(self.group) or path

    def row_ids(self, table: pd.DataFrame, middle: Sequence[str] = ("",)) -> list[str]:
        """Ids of windows (`path, end`), `<file's part>_<end>`; with `middle`, one of each between the two."""
        stems = {path: self._row_stem(path) for path in table["path"].unique()}
        ends = table["end"].map(windows.number)
        return [
            "_".join(filter(None, (stems[path], name, end)))
            for path, end in zip(table["path"], ends, strict=True)
            for name in middle
        ]

    def facts(self, table: pd.DataFrame) -> pd.DataFrame:
        """What the names say, by clip: `clip_id` and the pattern's groups."""
        rows = [self._said(path) for path in table["path"]]
        return pd.DataFrame(rows, columns=self.named).assign(clip_id=table["clip_id"].to_numpy())

    def _said(self, path: str) -> dict[str, str]:
        found = self.pattern.search(Path(path).stem) if self.pattern else None
        return {name: (found[name] or "") if found else "" for name in self.named}

    def _row_stem(self, path: str) -> str:
        stem = check_clip_name(Path(path).stem, path)
        found = self.stem.search(stem) if self.stem else None
        return found[1] or stem if found else stem


def by_name(paths: Iterable[str]) -> dict[str, str]:
    """Recordings by name without folder and suffix, in lower case, and by its first two parts `<id>_<site>`."""
    stems = {Path(path).stem.lower(): path for path in paths}
    return {"_".join(stem.split("_")[:2]): path for stem, path in stems.items()} | stems
