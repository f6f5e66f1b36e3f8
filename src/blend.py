"""Blend prediction tables, judged by nested cross-validation.

Takes  oof/<name>/<experiment>/, of ours or of any other framework, folds/<name>/r0.csv and the competition's csv.
Leaves submissions/<name>/blend.csv, blend.json (weights, scores), diversity.csv and error_correlation.csv, and
       oof/<name>/blend@<revision>/: a prediction table like any other, its OOF part nested.
"""

import environment  # noqa: F401  # isort: skip

import time

import numpy as np
import pandas as pd

from tonestack import cli, leaderboard, submission
from tonestack.ensemble import diversity, judge
from tonestack.ensemble.blends import Blend, equal
from tonestack.ensemble.judge import Candidate
from tonestack.ensemble.tables import Tables, made_name
from tonestack.files import write_csv, write_json
from tonestack.run import Run


def run(run: Run) -> None:
    """Judge every search, ship the one nested CV chooses."""
    started = time.monotonic()
    tables = Tables.of(run, run.data.blend.tables, run.data.blend.made)
    for name in tables.names:
        for note in tables.read(name).notes:
            print(f"note: {note}")
    unjudged = tables.without_oof()
    if unjudged:
        print(f"equal weights only, no CV score: {', '.join(unjudged)} came without OOF predictions")
        power = 0.0 if run.data.fold_mean == "geometric" else 1.0
        blend, rows = Blend(equal(len(tables.names)), power, normalise=tables.normalise), None
        found: dict[str, object] = {"search": "equal", "complexity": 0}
    else:
        chosen, part = search(run, tables)
        blend, rows, found = chosen.blend, tables.blend_oof(chosen.by_fold, part, chosen.blend), summary(chosen)
    weights = dict(zip(tables.names, blend.weights.tolist(), strict=True))
    receipt: dict[str, object] = {
        "kind": "blend",
        **found,
        "tables": list(tables.names),
        "weights": weights,
        "power": blend.power,
    }
    ship(run, tables, blend, rows, receipt | {"seconds": time.monotonic() - started})


def search(run: Run, tables: Tables) -> tuple[Candidate, np.ndarray]:
    """Nested candidates of all searches as a printed table; the choice, and the parts (N,) it was nested over."""
    problem, params = tables.problem(), run.data.blend
    part = judge.nesting(tables.fold)
    names = params.searches if problem.count > 1 else ("single",)
    candidates = judge.judge(problem, part[tables.judged], names, params, run.seed, run.cache / "blend")
    chosen = judge.choose(candidates, problem.metric, problem.targets)
    print(f"{problem.count} tables, {len(problem.targets)} verified clips, {problem.metric.name}, nested CV:")
    print(leaderboard.aligned(pd.DataFrame([line(c, c is chosen) for c in candidates])))
    if chosen.name != "single" and chosen.gain.low <= 0:
        print(f"warning: the gain of '{chosen.name}' over the best single table is inside the noise")
    write_csv(run.submissions / "diversity.csv", diversity.per_model(problem, chosen.blend.weights))
    correlation = diversity.error_correlation(problem).rename_axis("experiment").reset_index()
    write_csv(run.submissions / "error_correlation.csv", correlation)
    return chosen, part


def line(candidate: Candidate, chosen: bool) -> dict[str, str]:
    """One row of the printed table."""
    gain = candidate.gain
    noise = "" if gain.low > 0 or candidate.name == "single" else "inside the noise" if gain.high >= 0 else "worse"
    return {
        "blend": f"{'*' if chosen else ' '} {candidate.name}",
        "nested cv ± se": f"{candidate.cv:.4f} ± {candidate.se:.4f}",
        "against best single [95 %]": f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
        "": noise,
    }


def summary(chosen: Candidate) -> dict[str, object]:
    """What the receipt says of the choice."""
    gain = chosen.gain
    paired = {"gain": gain.value, "se": gain.se, "low": gain.low, "high": gain.high}
    return {
        "search": chosen.name,
        "complexity": chosen.complexity,
        "cv": chosen.cv,
        "cv_se": chosen.se,
        "paired": paired,
    }


def ship(run: Run, tables: Tables, blend: Blend, rows: np.ndarray | None, receipt: dict[str, object]) -> None:
    """Write the blend's table, its weights and, where there is a test set, its submission file."""
    test = tables.blend_test(blend)
    name = made_name("blend", tables.names)
    if rows is not None or test is not None:
        tables.write(name, rows, test, receipt)
    write_json(run.submissions / "blend.json", receipt)
    form = run.competition().submission
    if test is not None and form is not None:
        mean = tables.combine(test)
        submission.write(run.submissions / "blend.csv", form, tables.test_ids, tables.classes, mean)
    print(f"{run.oof / name}" + (f", {run.submissions / 'blend.csv'}" if test is not None and form is not None else ""))


if __name__ == "__main__":
    cli.main(run, __doc__)
