"""Harmonic mean of all tables: the least confident model counts most."""

from pathlib import Path

from tonestack.ensemble.blends import Blend, equal
from tonestack.ensemble.problem import Problem
from tonestack.settings.data_config import BlendParams

COMPLEXITY = 2  # nothing is chosen


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend:
    """Return the blend; the clips are not used."""
    return Blend(equal(problem.count), power=-1.0, normalise=problem.normalise)
