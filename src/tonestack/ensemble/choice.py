"""The tables that may be submitted, with their nested scores: the best single table, blends and stacks."""

from dataclasses import dataclass, field

from tonestack.config.call import Call
from tonestack.ensemble import nested_cv, searches
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.tables import Tables
from tonestack.tables import oof

import numpy as np

STACK_COMPLEXITY = {"logistic": 50, "lightgbm": 60}


@dataclass(frozen=True)
class Choice:
    """One table that may be submitted; scores (N, C) on the scored clips, nested."""

    name: str
    complexity: int
    scores: np.ndarray
    cv: float = float("nan")
    se: float = float("nan")
    sources: tuple[str, ...] = ()
    weights: dict[str, object] = field(default_factory=dict)

    @classmethod
    def unscored(cls, name: str) -> "Choice":
        """A table without OOF part."""
        return cls(name, 0, np.zeros((0, 0)), sources=(name,))


def best_single(tables: Tables, problem: Problem, part: np.ndarray, call: Call) -> Choice:
    """Return the best single table. Its score is nested too: it is chosen on the other folds."""
    singles = _singles(tables)
    candidate = nested_cv.evaluate(problem.models(singles), part, ["single"], call.data.blend, call.seed, None)[0]
    name = tables.names[singles[int(candidate.blend.weights.argmax())]]
    return Choice(name, candidate.complexity, candidate.scores, candidate.cv, candidate.se, (name,), {name: 1.0})


def reference(tables: Tables, problem: Problem, call: Call) -> np.ndarray:
    """Return the decided rows (N, C) with which stack and submit compare: those of the best single table on all clips.

    That favours the table, so a gain over it is a real one.
    """
    singles = problem.models(_singles(tables))
    return problem.decided(searches.find("single").fit(singles, call.data.blend, call.seed, None)(singles.tables))


def _singles(tables: Tables) -> list[int]:
    """Return the positions of the tables that are no blend, stack or baseline; of all where there is no other."""
    found = [m for m, n in enumerate(tables.names) if oof.kind_of(tables.folder / n) not in oof.APART]
    return found or list(range(len(tables.names)))


def made_tables(tables: Tables, problem: Problem, call: Call) -> list[Choice]:
    """Return the blends and stacks; their OOF rows are nested already."""
    choices = []
    for m, name in enumerate(tables.names):
        meta = tables.facts(name).meta
        if oof.kind_of(tables.folder / name) not in oof.MADE or not meta:
            continue
        search = str(meta[0].get("search", ""))
        complexity = int(meta[0].get("complexity", STACK_COMPLEXITY.get(search, 70)))
        cv, se = nested_cv.score(
            problem.metric,
            problem.decided(problem.tables[m]),
            problem.targets,
            call.data.blend.bootstrap,
            problem.groups,
        )
        sources, weights = tuple(meta[0].get("tables", ())), dict(meta[0].get("weights", {}))
        choices.append(Choice(name, complexity, problem.tables[m], cv, se, sources, weights))
    return choices
