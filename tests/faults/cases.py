"""The cases of faults: each has a row in the list, a way to make it, and a function that reports the outcome.

The docstring of a case says how the fault is made. The function fails where what happens is not what must, and
otherwise returns it in words; the tests run the functions, and `table.py` puts the words into docs/faults.md.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from place import Place, Places

MODULES = ("audio_faults", "csv_faults", "stranger_faults", "run_faults", "found_faults", "hostile_faults")
TITLES = {
    1: "an empty file (0 bytes)",
    2: "a header with 0 frames",
    3: "a data chunk shorter than its header says",
    4: "a size field of 0xFFFFFFFF",
    5: "no data chunk; a zeroed LIST chunk",
    6: "24-bit samples, an odd number of bytes",
    7: "NaN or infinite samples",
    8: "digital silence",
    9: "one sample",
    10: "a clip of an hour",
    11: "every rate and format; 1,000 channels",
    12: "text named .wav; exotic ADPCM; a decoder that crashes or never ends",
    13: "a file name that leaves its folder",
    14: "a link out of the root, a FIFO, a folder as a clip",
    15: "a blank or unknown label, stray white space",
    16: "one name twice with two labels",
    17: "byte-order mark, CRLF, semicolons; a missing column; an empty csv",
    18: "a class with fewer clips than folds",
    19: "the same audio in two folds, in train and test",
    20: "a label or name that is a formula or a script",
    21: "an archive's member outside of it, or a link",
    22: "a zip bomb",
    23: "a pickle given as weights or predictions",
    24: "weights of other classes, with NaN, with a flipped byte",
    25: "SIGKILL at any moment",
    26: "a full disk, a folder that cannot be written",
    27: "two runs at once, a killed search worker, a stale lock",
    28: "changed settings of the features",
    29: "no GPU, its memory full, a loss that is NaN",
    30: "a missing fold, rows in another order, NaN, ties",
    31: "faults found here",
}


@dataclass(frozen=True)
class Case:
    """One fault, made and survived."""

    row: int
    call: Callable[[Place], str]
    trained: bool = False
    long: bool = False

    @property
    def name(self) -> str:
        """The test's name."""
        return f"{self.row:02d}-{self.call.__name__}"

    @property
    def how(self) -> str:
        """The way to make the fault."""
        return " ".join((self.call.__doc__ or "").split())

    def happens(self, places: Places) -> str:
        """Make the fault; return the outcome in words. Any outcome but the expected one is an error."""
        return self.call(places.new(self.trained))


CASES: list[Case] = []


def case(row: int, trained: bool = False, long: bool = False) -> Callable[[Callable[[Place], str]], Callable]:
    """Add a function to the cases of a row. trained: it starts with a trained model; long: it takes minutes."""

    def add(function: Callable[[Place], str]) -> Callable[[Place], str]:
        CASES.append(Case(row, function, trained, long))
        return function

    return add


def all_cases() -> list[Case]:
    """Every case, in the order of the rows."""
    for name in MODULES:
        importlib.import_module(name)
    return sorted(CASES, key=lambda one: one.row)
