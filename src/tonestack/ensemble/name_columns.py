"""What the names of recordings say, as columns of a stacker: the time of day, and the site.

Animals call at their hours and live at their places. A site helps only where it comes again: one that training has
never heard of is like no site at all.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tonestack.settings.data_config import StackParams

import numpy as np

HOUR, MINUTE, SITE = "hour", "minute", "site"  # groups of a competition's `name_pattern`
LEAST = 2  # labelled recordings of a site that gets a column; what one says of its site, it says of itself


@dataclass(frozen=True)
class NameColumns:
    """Columns of clips from their files' names.

    pattern: searched for in a name without suffix. hour: sine and cosine of the time of day, both 0 where the name says
    none. sites: each has a column of 0 and 1; recordings of another site have zeros in all.
    """

    pattern: str
    hour: bool
    sites: tuple[str, ...]

    def __call__(self, paths: Sequence[str]) -> np.ndarray:
        """The columns (N, E) of clips in these files."""
        found = {path: self._of(path) for path in set(paths)}
        width = 2 * self.hour + len(self.sites)
        return np.array([found[path] for path in paths], dtype=np.float32).reshape(len(paths), width)

    def _of(self, path: str) -> list[float]:
        said = said_by(self.pattern, path)
        columns = [float(said.get(SITE) == site) for site in self.sites]
        return [*_clock(said.get(HOUR, ""), said.get(MINUTE, "")), *columns] if self.hour else columns

    def to_array(self) -> np.ndarray:
        """As bytes of json, for a file of arrays."""
        facts = {"pattern": self.pattern, "hour": self.hour, "sites": self.sites}
        return np.frombuffer(json.dumps(facts).encode(), np.uint8)

    @classmethod
    def of_array(cls, array: np.ndarray) -> "NameColumns":
        """Undo `to_array`; `ValueError` where the bytes are damaged."""
        facts = json.loads(array.tobytes().decode())
        re.compile(facts["pattern"])
        return cls(facts["pattern"], facts["hour"], tuple(facts["sites"]))


def said_by(pattern: str, path: str) -> dict[str, str]:
    """What a file's name says, by the groups of the pattern; empty where it is not found."""
    found = re.search(pattern, Path(path).stem)
    return {name: text for name, text in found.groupdict().items() if text} if found else {}


def _clock(hour: str, minute: str) -> tuple[float, float]:
    """Sine and cosine of the time of day, so that 23 h lies beside 0 h."""
    if not hour.isdecimal():
        return 0.0, 0.0
    angle = 2 * np.pi * (int(hour) + (int(minute) / 60 if minute.isdecimal() else 0)) / 24
    return float(np.sin(angle)), float(np.cos(angle))


def choose(
    pattern: str, train: Sequence[str], test: Sequence[str], params: StackParams
) -> tuple[NameColumns | None, str]:
    """Return the columns that the names of files give, None if they give none, and a line on what is used.

    train: the files of the clips that scores count; test: those of all test clips.
    """
    said, ahead = ([said_by(pattern, path) for path in sorted(set(paths))] for paths in (train, test))
    hour = params.hour and any(HOUR in names for names in said)
    there = {names[SITE] for names in ahead if SITE in names}
    sites, why = _sites([names[SITE] for names in said if SITE in names], there, params)
    seen = [*["the hour"] * hour, *[f"the site ({len(sites)} of them)"] * bool(sites)]
    line = f"stackers see {' and '.join(seen) or 'nothing'} of what files' names say{why}"
    return (NameColumns(pattern, hour, sites) if seen else None), line


def _sites(train: list[str], test: set[str], params: StackParams) -> tuple[tuple[str, ...], str]:
    """The sites that get a column, and why none does although the names say some. train: of every recording."""
    known = sorted({site for site in train if train.count(site) >= LEAST})
    if not known or params.site != "shared":
        return tuple(known) if params.site == "always" else (), ""
    shared = tuple(site for site in known if site in test)
    none = "no test recording is of a training site" if test else "there is no test recording yet whose site is known"
    return shared, "" if shared else f"; {none}, so sites are not used (stack.site=always uses them)"
