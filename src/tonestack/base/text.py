"""Text from strangers: control signs and marks that hide or turn text around, and cells that a spreadsheet would run.

Names and labels reach the terminal through `Plain`, which spells out what could move the cursor, ring a bell, or show
the text in another order than it has. Csv cells are guarded by `inert` (the signs that OWASP's page on csv injection
lists, and their full-width forms).
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO

from tonestack.base.errors import UserError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # of ASCII and Latin-1, line and paragraph ends
BROKEN = re.compile(r"[\ud800-\udfff]")  # bytes that are no UTF-8
# Marks that turn text around (Unicode's bidi controls), have no width, or carry hidden text (tags, noncharacters).
HIDDEN = r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
HIDDEN += r"\uffa0\ufff9-\ufffb\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e007f"
UNSEEN = re.compile(rf"[{CONTROL.pattern[1:-1]}{BROKEN.pattern[1:-1]}{HIDDEN}]")
# How a cell starts that is run as a formula, guarded or not; a program that takes `;` for the comma starts cells at it.
FORMULA = re.compile(r"(?:(?<![^;,|\t\r\n]))('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


# Cyrillic and Greek letters that look like a Latin one (after Unicode's confusables.txt), each above its own.
LETTERS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορυϲ",
    "ABESIJKMHOPCTYXaesijopcyxhqw" + "ABEZHIKMNOPTYXaivopuc",
)
BLANKS = re.compile(r"[\s_-]+")
PLAIN_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")


def looks(text: str) -> str:
    """A text as it looks: one Unicode form, one kind of blank, nothing that cannot be seen."""
    seen = UNSEEN.sub("", unicodedata.normalize("NFC", text))
    return " ".join(seen.split())


def means(text: str) -> str:
    """What a name most probably means: case, width, alphabet, kind of blank and the way a number is written aside."""
    seen = unicodedata.normalize("NFKC", looks(text)).translate(LETTERS).casefold()
    if PLAIN_NUMBER.fullmatch(seen):
        return repr(float(seen))
    return BLANKS.sub(" ", seen)


def has_control(text: str) -> bool:
    """True if a text holds a control sign."""
    return CONTROL.search(text) is not None


def check_text(text: str, what: str) -> str:
    """Refuse control characters and bytes that are not UTF-8: no table can hold them, no terminal should print them."""
    if CONTROL.search(text) or BROKEN.search(text):
        raise UserError(f"{what} {text!r} holds a control character or bytes that are not UTF-8; rename it")
    return text


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def plain(text: str, kept: str = "") -> str:
    """Spell out signs that a terminal would obey or not show, as `\\u202e`; `kept`: signs that stay."""
    return UNSEEN.sub(lambda found: found[0] if found[0] in kept else _spelled(found[0]), text)


def _spelled(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))  # as json spells it


class Plain:
    """A text stream whose writes go through `plain`; line ends, tabs and what tqdm writes to move its bars stay."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        if UNSEEN.search(text) and text.replace("\x1b[A", "").strip("\r\n"):
            bar = "\r" if text.startswith("\r") else ""
            text = bar + plain(text[len(bar) :], kept="\n\t")
        self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Within the block, whatever is printed goes through `Plain`; signs that the terminal cannot show are spelled."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = Plain(before[0]), Plain(before[1])  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def inert(text: str) -> str:
    """Guard a csv cell that a spreadsheet would take for a formula with an apostrophe; `uninert` takes it off."""
    return FORMULA.sub(lambda found: found[1] + "'", text)


def uninert(text: str) -> str:
    """Take the apostrophe off again: `uninert(inert(text)) == text` whatever the text."""
    return FORMULA.sub(lambda found: found[1][1:], text)
