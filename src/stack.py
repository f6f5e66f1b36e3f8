"""Stack prediction tables by LightGBM and, as its baseline, logistic regression.

Takes  oof/<name>/<experiment>/ with OOF parts, folds/<name>/r0.csv, and statistics of prepared spectrograms if any.
Leaves oof/<name>/stack-<stacker>@<revision>/: prediction tables like any other, with the fitted stacker beside them
       (stacker.safetensors), and submissions/<name>/stack.csv.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import blend
from tonestack import cli
from tonestack.base import console
from tonestack.base.errors import UserError
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.ensemble import clip_components, leaderboard, neighbours, nested_cv, stacking
from tonestack.ensemble.choice import reference
from tonestack.ensemble.clip_components import ClipComponents
from tonestack.ensemble.neighbours import Places
from tonestack.ensemble.stack_inputs import FittedStacker, StackInputs, StackRows
from tonestack.ensemble.tables import Tables, made_name, to_join
from tonestack.ensemble.up_to_date import UpToDate, alone
from tonestack.tables import oof

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class WindowPlaces:
    """What the other windows of a recording say, as functions of mean logs, for training and for test rows."""

    train: Callable[[np.ndarray], np.ndarray]
    test: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, call: Call, tables: Tables) -> "WindowPlaces | None":
        """From where the clips lie in their recordings; None where training clips are no windows."""
        names = tables.folds["clip_id"].tolist(), list(tables.test_ids)
        own, ahead = (Places.of(call.competition(), clips) for clips in names)
        return None if own is None else cls(*(partial(neighbours.around, places=p) for p in (own, ahead)))


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
    clips = tables.folds["clip_id"].tolist(), list(tables.test_ids)
    statistics = clip_components.read(call, source, *clips) if source else None
    places = None if tables.normalise else WindowPlaces.of(call, tables)
    lines, shipped, outputs = [], [], []
    for name in params.stackers:
        started = time.monotonic()
        rows, test, fitted = stack(call, tables, name, statistics, places)
        decided = problem.decided(rows[tables.scored])
        cv, se = nested_cv.score(problem.metric, decided, problem.targets, groups=problem.groups)
        against = decided, best, problem.targets, call.data.blend.bootstrap
        gain = nested_cv.paired(problem.metric, *against, groups=problem.groups)
        table = made_name(f"stack-{name}", tables.names)
        receipt = {"kind": "stack", "search": name, "tables": list(tables.names), "cv": cv, "cv_se": se}
        receipt |= {"statistics": statistics.frontend if statistics else None}
        path = oof.own_folder(call.oof / table) / "stacker.safetensors"
        stacking.save(path, fitted, statistics.projection if statistics else None, places is not None)
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
    return UpToDate(call, "stack", tables.names, [params.model_dump(), source.store.fingerprint if source else None])


def stack(
    call: Call,
    tables: Tables,
    name: str,
    statistics: ClipComponents | None,
    places: "WindowPlaces | None" = None,
) -> tuple[np.ndarray, np.ndarray | None, FittedStacker]:
    """Return nested OOF rows (N, C), test rows (K, M, C) by the stacker of all folds, and that stacker."""
    params = call.data.stack
    stacked = np.stack([tables.oof(n) for n in tables.names])
    predicted = np.isfinite(stacked).all(axis=(0, 2)) & (tables.fold >= 0)
    independent = not tables.normalise
    known = np.where(predicted[:, None], stacked, np.float32(1))
    around = places.train if places else None
    inputs = StackInputs.of(known, statistics.train if statistics else None, independent, around)
    weights = np.where(tables.folds["verified"].to_numpy(dtype=bool), 1.0, params.unverified_weight)
    part = nested_cv.nesting(tables.fold, tables.groups)
    every = StackRows(inputs, tables.targets, weights, part, len(tables.classes), tables.groups)
    learn = every.where(predicted & (weights > 0))
    rows = stacking.nested(name, learn, inputs, np.where(predicted, every.fold, -1), params, call.seed)
    fitted = stacking.fit(name, learn, params, call.seed)
    if not tables.test_ids:
        return rows, None, fitted
    extra = statistics.test if statistics else None
    around = places.test if places else None
    test = [fitted(StackInputs.of(fold, extra, independent, around)) for fold in tables.test_stacks()]
    return rows, np.stack(test), fitted


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
