"""Blend searches, one file each, found by name.

A search defines `COMPLEXITY` (amount of choice; ties go to the smaller) and
`fit(problem, params, seed, journal) -> Blend`; `journal` is a file it may resume from, or None. `ROWS` lists the kinds
of tables it can join: `probabilities` (the default), `scores` of trials, or both. `work(problem, params) -> int` is
about how many weightings a fit scores, for the progress bar; a search without it scores none.
"""

from types import ModuleType

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.ensemble.problem import Problem
from tonestack.settings.data_config import BlendParams


def names(rows: str | None = None) -> list[str]:
    """Names of all searches, or of those that can join `rows`."""
    return [name for name in parts.names("searches") if rows is None or rows in _rows(find(name))]


def find(name: str, rows: str | None = None) -> ModuleType:
    """Import one search; a name that does not exist, or that cannot join `rows`, is refused with what there is."""
    module = parts.find("searches", name)
    if rows and rows not in _rows(module):
        raise UserError(f"blend.searches: '{name}' cannot join {rows}; there is: {', '.join(names(rows))}")
    return module


def work(name: str, problem: Problem, params: BlendParams) -> int:
    """About how many weightings one fit of a search scores."""
    module = find(name)
    return int(module.work(problem, params)) if hasattr(module, "work") else 0


def _rows(module: ModuleType) -> tuple[str, ...]:
    return getattr(module, "ROWS", ("probabilities",))
