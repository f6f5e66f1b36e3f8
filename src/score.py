"""Score every table and submission on the test labels: the only stage that reads them.

Takes  scoring=FILE (the clips' and labels' columns as in the competition's csv, or fname and label; usage: Public,
       Private or Ignored), oof/<name>/, submissions/<name>/.
Leaves the scores in oof/<name>/scores.json and oof/<name>/leaderboard.csv, and prints both.
"""

from pathlib import Path

from tonestack import cli
from tonestack.base import console
from tonestack.base.errors import UserError
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.ensemble import leaderboard, made, scoring
from tonestack.ensemble.tables import Tables
from tonestack.ensemble.up_to_date import alone
from tonestack.tables import oof
from tonestack.tables.metrics import resolve

import pandas as pd


@alone
def run(call: Call) -> None:
    """Print and record the Public and Private scores of all tables and files."""
    made.remove_stale(call)
    rows = call.rows
    if not rows.test_ids:
        print("no test set: the scores are those of cross-validation")
    elif call.scoring is None:
        raise UserError("score: no test labels known; give scoring=FILE (columns fname, label, usage)")
    else:
        check(call)
        labels = scoring.read(call.scoring, rows.labels, call.task, scoring.Headings.of(call))
        found = score_tables(call, labels) | score_files(call, labels)
        leaderboard.record(call, found)
        files = [{"file": n, **{k: f"{v:.4f}" for k, v in s.items()}} for n, s in found.items() if n.endswith(".csv")]
        if files:
            print(console.aligned(pd.DataFrame(files)) + "\n")
        call.task.scored(call.oof, call.reports, labels)
    print(leaderboard.render(leaderboard.update(call)))


def check(call: Call) -> None:
    """Refuse a scoring csv that could not be used, before a long run too."""
    competition = call.competition()
    if not isinstance(call.scoring, Path):
        return
    headings, form = scoring.Headings.of(call), competition.submission
    labels = scoring.read(call.scoring, competition.classes if call.task.tags else None, call.task, headings)
    if call.task.clip_rows and form and (said := scoring.lacking(call.scoring, form.clips, headings)):
        print(f"note: {said}")
    unknown = set(labels["clip_id"]) - set(competition.test["clip_id"]) - set(form.clips if form else ())
    if unknown and call.task.clip_rows:
        raise UserError(f"{call.scoring}: clip '{min(unknown)}' ({len(unknown)} such) is no test clip; remove the rows")


def score_tables(call: Call, labels: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the scores of every complete table with a test part."""
    found = {}
    for name in oof.experiments(call.oof, made=True):
        tables = Tables.of(call, [name])
        try:
            values = tables.decided(name)
        except UserError as error:
            print(f"not scored: {error}")
            continue
        metric = resolve(tables.metric)
        ids, values = (
            submission.pool(tables.form, tables.test_ids, values) if tables.form else (tables.test_ids, values)
        )
        found[name] = scoring.score(metric, values, ids, labels, tables.labels, tables.task, tables.form)
    return found


def score_files(call: Call, labels: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the scores of the csv files, as the competition's server reads them."""
    rows = call.rows
    form = rows.form
    paths = [call.submissions / f"{n}.csv" for n in ("blend", "stack", "submission")]
    if form is None:
        return {}
    metric, task = resolve(call.data.metric), call.task
    return {
        p.name: scoring.score(
            metric, submission.read(p, form, rows.columns), form.clips, labels, rows.labels, task, form
        )
        for p in paths
        if p.is_file()
    }


if __name__ == "__main__":
    cli.main(run, __doc__)
