"""What a first look is asked, and one thing that it has seen or guessed, with the settings that follow from it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Question:
    """What is looked at: the train csv and the folder of its recordings, both below `root`; columns that are given."""

    root: Path
    csv: Path
    audio: Path
    table: pd.DataFrame
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Finding:
    """What was found out about one question.

    what: the question, in a word. said: the answer in words. settings: what a data config says of it, by dotted key.
    doubt: what a person should look at; empty where there is no doubt.
    """

    what: str
    said: str
    settings: dict[str, Any] = field(default_factory=dict)
    doubt: str = ""

    def line(self) -> str:
        """One line for the terminal; it begins with a question mark where a person should look."""
        return f"{'?' if self.doubt else ' '} {self.what:11} {self.said}" + (f"  <- {self.doubt}" if self.doubt else "")
