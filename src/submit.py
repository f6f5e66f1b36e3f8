"""Choose what to submit by nested cross-validation, check it, write it, log it.

Takes  oof/<name>/: single tables, blends and stacks; the competition's sample submission.
Leaves submissions/<name>/submission.csv in exactly the competition's format, and a line in log.csv.
"""

import environment  # noqa: F401  # isort: skip

import json

import numpy as np
import pandas as pd

from tonestack import cli, leaderboard, oof, submission
from tonestack.ensemble import judge
from tonestack.ensemble.choice import Choice, best_single, made_tables
from tonestack.ensemble.tables import Tables
from tonestack.errors import UserError
from tonestack.run import Run


def run(run: Run) -> None:
    """The simplest of single table, blend and stack that is as good as the best."""
    tables = Tables.of(run, made=True)
    chosen, report = choose(run, tables)
    print(report)
    form = run.competition().submission
    if form is None:
        print(f"no test set: nothing to submit; cross-validation chooses {chosen.name}")
        return
    path = run.submissions / "submission.csv"
    submission.write(path, form, tables.test_ids, tables.classes, tables.test(chosen.name))
    entry = {
        "file": path.name,
        "table": chosen.name,
        "from": " ".join(chosen.sources),
        "weights": json.dumps(chosen.weights),
        "cv": "" if np.isnan(chosen.cv) else f"{chosen.cv:.5f}",
        "se": "" if np.isnan(chosen.se) else f"{chosen.se:.5f}",
    }
    submission.log(run.submissions / "log.csv", entry)
    print(f"{path}: {chosen.name}, nested cv {chosen.cv:.4f} ± {chosen.se:.4f}")


def choose(run: Run, tables: Tables) -> tuple[Choice, str]:
    """The choice, and all candidates as printed lines."""
    unjudged = tables.without_oof()
    judged = [n for n in tables.names if n not in unjudged]
    if not judged:
        made = [n for n in unjudged if oof.kind_of(run.oof / n) in oof.MADE] or unjudged
        if len(made) > 1:
            raise UserError("no table has an OOF part, so none can be chosen; run blend for their equal mean")
        return Choice.unjudged(made[0]), "no table has an OOF part: nothing to choose by"
    sub = Tables.of(run, judged)
    problem, part = sub.problem(), judge.nesting(sub.fold)[sub.judged]
    candidates = [best_single(sub, problem, part, run), *made_tables(sub, problem, run)]
    picked = judge.choose(candidates, problem.metric, problem.targets)
    lines = [
        {"table": f"{'*' if c is picked else ' '} {c.name}", "nested cv ± se": f"{c.cv:.4f} ± {c.se:.4f}"}
        for c in candidates
    ]
    return picked, leaderboard.aligned(pd.DataFrame(lines))


if __name__ == "__main__":
    cli.main(run, __doc__)
