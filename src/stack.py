"""Stack prediction tables by LightGBM and, as its baseline, logistic regression.

Takes  oof/<name>/<experiment>/ with OOF parts, folds/<name>/r0.csv, statistics of prepared spectrograms if any, and the
       hour and the site that the names of soundscapes say.
Leaves oof/<name>/stack-<stacker>@<revision>/: prediction tables like any other, with the fitted stacker beside them
       (stacker.safetensors), and submissions/<name>/stack.csv.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import blend
from tonestack import cli
from tonestack.base import console
from tonestack.base.errors import UserError
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.ensemble import clip_components, leaderboard, name_columns, nested_cv, stacking
from tonestack.ensemble.choice import reference
from tonestack.ensemble.clip_components import PreparedSpectrogram
from tonestack.ensemble.rules import neighbours
from tonestack.ensemble.rules.neighbours import Places
from tonestack.ensemble.stack_inputs import FittedStacker, StackInputs, StackRows
from tonestack.ensemble.stacking import Beside
from tonestack.ensemble.tables import Tables, made_name, to_join
from tonestack.ensemble.up_to_date import UpToDate, alone
from tonestack.tables import oof
from tonestack.tables.competition import Competition

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Seen:
    """What stackers see of some clips beside the tables: columns (N, S), and a function to what other windows say."""

    columns: np.ndarray | None = None
    around: Callable[[np.ndarray], np.ndarray] | None = None

    def inputs(self, tables: np.ndarray, independent: bool) -> StackInputs:
        """The inputs of a stacker from tables (M, N, C)."""
        return StackInputs.of(tables, self.columns, independent, self.around)


@dataclass(frozen=True)
class Surroundings:
    """What stackers see beside the tables, of training and of test clips, and how it is had of other clips.

    frontend: the one whose clip statistics are seen, if any.
    """

    train: Seen = Seen()
    test: Seen = Seen()
    beside: Beside = field(default_factory=Beside)
    frontend: dict[str, Any] | None = None

    @classmethod
    def of(cls, call: Call, tables: Tables, source: PreparedSpectrogram | None, say: Callable[[str], None]) -> Self:
        """From prepared features, from where clips lie in their recordings, and from their files' names."""
        clips = tables.folds["clip_id"].tolist(), list(tables.test_ids)
        components = clip_components.read(call, source, *clips) if source else None
        columns = [[components.train], [components.test]] if components else [[], []]
        competition, names = call.competition(), None
        if competition.name_pattern:
            files = [paths_of(competition, part) for part in clips]
            scored = [path for path, counts in zip(files[0], tables.scored, strict=True) if counts]
            names, line = name_columns.choose(competition.name_pattern, scored, files[1], call.data.stack)
            columns = [[*had, names(own)] if names else had for had, own in zip(columns, files, strict=True)]
            say(line)
        places = [None, None] if tables.normalise else [Places.of(competition, part) for part in clips]
        windows = places[0] is not None
        train, test = (
            Seen(
                np.concatenate(had, axis=1) if had else None,
                partial(neighbours.around, places=where) if windows else None,
            )
            for had, where in zip(columns, places, strict=True)
        )
        beside = Beside(components.projection if components else None, windows, names)
        return cls(train, test, beside, components.frontend if components else None)


def paths_of(competition: Competition, clip_ids: Sequence[str]) -> list[str]:
    """The files that clips are, or lie in."""
    return list(competition.clips_by_id["path"].loc[list(clip_ids)])


@alone
def run(call: Call) -> None:
    """Fit and score every stacker fold by fold, write its table; the best one becomes stack.csv."""
    blend.upstream(call)
    tables = Tables.of(call, to_join(call, call.data.stack.tables))
    if not tables.probabilities:
        print("stack: scores of trials have no classes to stack; blend fuses them")
        return
    params = call.data.stack
    source = clip_components.source_of(call) if params.clip_statistics else None
    last = record(call, tables)
    if last.up_to_date():
        return
    if tables.without_oof():
        raise UserError(f"stack: {tables.without_oof()[0]} has no OOF part; name others with stack.tables=...")
    problem = tables.problem()
    best = reference(tables, problem, call)
    around = Surroundings.of(call, tables, source, last.say)
    lines, shipped, outputs = [], [], []
    for name in params.stackers:
        started = time.monotonic()
        rows, test, fitted = stack(call, tables, name, around)
        decided = problem.decided(rows[tables.scored])
        cv, se = nested_cv.score(problem.metric, decided, problem.targets, groups=problem.groups)
        against = decided, best, problem.targets, call.data.blend.bootstrap
        gain = nested_cv.paired(problem.metric, *against, groups=problem.groups)
        table = made_name(f"stack-{name}", tables.names)
        receipt = {"kind": "stack", "search": name, "tables": list(tables.names), "cv": cv, "cv_se": se}
        receipt |= {"statistics": around.frontend}
        path = oof.own_folder(call.oof / table) / "stacker.safetensors"
        stacking.save(path, fitted, around.beside)
        tables.write(table, rows, test, receipt | {"seconds": time.monotonic() - started})
        outputs += [call.oof / table, path]
        lines.append(
            {"stack": table, "nested cv ± se": f"{cv:.4f} ± {se:.4f}", "against best single [95 %]": str(gain)}
        )
        shipped.append((problem.metric.sign * cv, rows, test))
    last.say(console.aligned(pd.DataFrame(lines)))
    outputs += ship(call, tables, *max(shipped, key=lambda s: s[0])[1:], last)
    last.finish(outputs)
    leaderboard.update(call)


def record(call: Call, tables: Tables) -> UpToDate:
    """Return the record of stack."""
    params = call.data.stack
    source = clip_components.source_of(call) if params.clip_statistics else None
    pattern = call.competition().name_pattern
    settings = [params.model_dump(), source.store.fingerprint if source else None, *([pattern] if pattern else [])]
    return UpToDate(call, "stack", tables.names, settings)


def stack(
    call: Call,
    tables: Tables,
    name: str,
    around: Surroundings,
) -> tuple[np.ndarray, np.ndarray | None, FittedStacker]:
    """Return nested OOF rows (N, C), test rows (K, M, C) by the stacker of all folds, and that stacker."""
    params = call.data.stack
    stacked = np.stack([tables.oof(n) for n in tables.names])
    predicted = np.isfinite(stacked).all(axis=(0, 2)) & (tables.fold >= 0)
    independent = not tables.normalise
    known = np.where(predicted[:, None], stacked, np.float32(1))
    inputs = around.train.inputs(known, independent)
    weights = np.where(tables.folds["verified"].to_numpy(dtype=bool), 1.0, params.unverified_weight)
    part = nested_cv.nesting(tables.fold, tables.groups)
    every = StackRows(inputs, tables.targets, weights, part, len(tables.classes), tables.groups)
    learn = every.where(predicted & (weights > 0))
    held_out, test = np.where(predicted, every.fold, -1), level_rows(tables, around, independent)
    rows = stacking.nested(name, learn, inputs, held_out, params, call.seed, test, tables.normalise)
    fitted = stacking.fit(name, learn, params, call.seed)
    if not tables.test_ids:
        return rows, None, fitted
    said = [fitted(around.test.inputs(fold, independent)) for fold in tables.test_stacks()]
    return rows, np.stack(said), fitted


def level_rows(tables: Tables, around: Surroundings, independent: bool) -> StackInputs | None:
    """Inputs of test rows on which the folds' stackers are brought to one level; None where none is to be found."""
    count = len(tables.test_ids)
    if not tables.level or count < oof.LEVEL_LEAST:
        return None
    whole = around.test.inputs(np.stack([tables.test(name) for name in tables.names]), independent)
    return whole.where(np.arange(0, count, max(1, count // oof.LEVEL_MOST)))


def ship(call: Call, tables: Tables, rows: np.ndarray, test: np.ndarray | None, last: UpToDate) -> list[Path]:
    """Write stack.csv if there is a test set; return it."""
    form = tables.form
    if test is None or form is None:
        return []
    path = call.submissions / "stack.csv"
    ids, values = tables.submitted(rows, test)
    submission.write(path, form, ids, tables.classes, values)
    last.say(str(path))
    return [path]


if __name__ == "__main__":
    cli.main(run, __doc__)
