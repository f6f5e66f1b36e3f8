"""Blends of tables too large to be held: measured, not promised. Marked long."""

import runpy
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "memory.py"


@pytest.mark.long
def test_blending_many_tables_needs_a_few_times_their_judged_rows() -> None:
    """The judged OOF rows, the part that a fold learns from, and what a search makes of it: under four times them."""
    found = runpy.run_path(str(BENCH))["measure"](40, 10_000, 20, 500, 5)
    judged = 40 * 10_000 * 20 * 4 / 2**30
    kept = found["tables_gib"]  # so small that they are kept as well
    assert found["peak_gib"] - found["imports_gib"] - kept < 4 * judged + 0.15
