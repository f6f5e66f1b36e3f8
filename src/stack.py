"""Stack prediction tables: LightGBM and, as the bar it must beat, multinomial logistic regression.

Takes  oof/<name>/<experiment>/ with OOF parts, folds/<name>/r0.csv, and the clip table's statistics if there are any.
Leaves oof/<name>/stack-<stacker>@<revision>/: prediction tables like any other, and submissions/<name>/stack.csv.
"""

import environment  # noqa: F401  # isort: skip

import time

import numpy as np
import pandas as pd

from tonestack import cli, leaderboard, submission
from tonestack.ensemble import clip_statistics, judge, stackers
from tonestack.ensemble.stackers import Rows
from tonestack.ensemble.tables import Tables, made_name
from tonestack.errors import UserError
from tonestack.run import Run


def run(run: Run) -> None:
    """Fit every stacker fold by fold, judge it, write its table; the better one becomes stack.csv."""
    tables = Tables.of(run, run.data.stack.tables)
    if run.data.task == "multilabel":
        raise UserError("stack: a clip with several labels cannot be stacked yet; use blend")
    if tables.without_oof():
        raise UserError(f"stack: {tables.without_oof()[0]} has no OOF part; name others with stack.tables=...")
    problem = tables.problem()
    best = judge.searches.find("single").fit(problem, run.data.blend, run.seed, None)(problem.tables)
    lines, shipped = [], []
    for name in run.data.stack.stackers:
        started = time.monotonic()
        rows, test = stack(run, tables, name)
        cv, se = judge.score(problem.metric, rows[tables.judged], problem.targets)
        gain = judge.paired(problem.metric, rows[tables.judged], best, problem.targets)
        table = made_name(f"stack-{name}", tables.names)
        receipt = {"kind": "stack", "search": name, "tables": list(tables.names), "cv": cv, "cv_se": se}
        tables.write(table, rows, test, receipt | {"seconds": time.monotonic() - started})
        gap = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        lines.append({"stack": table, "nested cv ± se": f"{cv:.4f} ± {se:.4f}", "against best single [95 %]": gap})
        shipped.append((problem.metric.sign * cv, test))
    print(leaderboard.aligned(pd.DataFrame(lines)))
    ship(run, tables, max(shipped, key=lambda s: s[0])[1])


def stack(run: Run, tables: Tables, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Nested OOF rows (N, C), and test rows (K, M, C) by the stacker of all folds within each fold's tables."""
    params = run.data.stack
    oof_statistics, test_statistics = clip_statistics.read(run) if params.clip_statistics else (None, None)
    features = stackers.features(np.stack([tables.oof(n) for n in tables.names]), oof_statistics)
    weights = np.where(tables.folds["verified"].to_numpy(dtype=bool), 1.0, params.unverified_weight)
    every = Rows(features, tables.targets, weights, judge.nesting(tables.fold), len(tables.classes))
    predicted = np.isfinite(features[:, : len(tables.classes)]).all(axis=1) & (tables.fold >= 0)
    learn = every.where(predicted & (weights > 0))
    rows = stackers.nested(name, learn, features, np.where(predicted, every.fold, -1), params, run.seed)
    if not tables.test_ids:
        return rows, None
    fitted = stackers.fit(name, learn, params, run.seed)
    test = [fitted(stackers.features(fold, test_statistics)) for fold in tables.test_stacks()]
    return rows, np.stack(test)


def ship(run: Run, tables: Tables, test: np.ndarray | None) -> None:
    """Write stack.csv where there is a test set."""
    form = run.competition().submission
    if test is not None and form is not None:
        path = run.submissions / "stack.csv"
        submission.write(path, form, tables.test_ids, tables.classes, tables.combine(test))
        print(path)


if __name__ == "__main__":
    cli.main(run, __doc__)
