"""Make every fault and write what happened into docs/faults.md: `table.py [long=true]`.

The cases are those of the tests; a case that fails ends the command.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

from cases import TITLES, Case, all_cases
from place import TESTS, Places

TARGET = TESTS.parent / "docs" / "faults.md"
HEAD = """# Faults, and what happens

Made by `python tests/faults/table.py long=true`, which makes every fault below and writes down what happened; the
tests in `tests/faults/` run the same cases. “Refused” means: exit status 2, one line that names the file or row, its
fault and the fix, nothing half-written, earlier files as they were. `ROOT` is the competition's folder, `HOME` the
folder of what is made.

| # | fault | how it is made | what happened |
|---|---|---|---|
"""


def main(arguments: list[str]) -> None:
    """Run the cases, write the table."""
    cases = [case for case in all_cases() if "long=true" in arguments or not case.long]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder))
        for case in cases:
            started = time.monotonic()
            rows.append(row(case, case.happens(places)))
            print(f"{case.name}: {time.monotonic() - started:.1f} s", flush=True)
    TARGET.write_text(HEAD + "".join(rows), encoding="utf-8")
    print(TARGET)


def row(case: Case, happened: str) -> str:
    """A line of the table."""
    cells = [str(case.row), TITLES[case.row], case.how, happened]
    return "| " + " | ".join(cell_text(cell) for cell in cells) + " |\n"


def cell_text(text: str) -> str:
    """Text that stays in its cell and is no markup, code between back quotes aside."""
    pieces = re.split(r"(`[^`]*`)", text.replace("|", "\\|").replace("\n", " "))
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;").replace("*", "\\*") for p in pieces)


if __name__ == "__main__":
    main(sys.argv[1:])
