"""The one exception a user may see, and the helper that finds the nearest right word."""

from collections.abc import Iterable
from difflib import get_close_matches

LONG, MANY = 100, 20_000  # letters of a word and number of words that are compared
SHOWN = 40  # words that are listed


class UserError(Exception):
    """Bad input: the message is one line with the file or row, the fault and the fix (exit status 2)."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest choice, or the list of choices if none is close."""
    choices = sorted(map(str, choices))
    few = [choice for choice in choices if len(choice) <= LONG][:MANY]  # comparing takes time
    close = get_close_matches(word, few, n=1, cutoff=0.6) if len(word) <= LONG else []
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(choices) - SHOWN:,} more" if len(choices) > SHOWN else ""
    return f"; there is: {', '.join(choice[:LONG] for choice in choices[:SHOWN])}{more}" if choices else ""
