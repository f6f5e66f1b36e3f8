"""The one exception a user may see, and the helper that finds the nearest right word."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input: the message is one line with the file or row, the fault and the fix (exit status 2)."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest choice, or the list of choices if none is close."""
    choices = sorted(map(str, choices))
    close = get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; there is: {', '.join(choices)}" if choices else ""
