"""Run the tests: `run_tests.py [long=true] [pytest arguments]`."""

import sys
from pathlib import Path

import pytest


def main(arguments: list[str]) -> int:
    """Leave tests marked `long` out unless `long=true` is given."""
    long = "long=true" in arguments
    rest = [word for word in arguments if not word.startswith("long=")]
    selection = [] if long else ["-m", "not long"]
    return pytest.main(["--rootdir", str(Path(__file__).parents[1]), *selection, *rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
