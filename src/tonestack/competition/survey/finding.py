"""One thing that a first look has seen or guessed, with the setting that follows from it."""

from dataclasses import dataclass, field
from typing import Any


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
