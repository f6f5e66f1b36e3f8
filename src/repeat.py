"""Repeat the cross-validation on other folds: the same models, blends and stacks, with intervals over whole groups.

Takes  what train, blend and stack take; folds.repeats is their number, baseline the model the others are
       compared with. Each repeat has its own name: <name>-r1, <name>-r2 ...; its features are <name>'s.
       The first is <name> on r0, or <name>-r0 where <name> is trained on another revision.
Leaves folds/<name>-r<k>/, oof/<name>-r<k>/ and reports/<name>/repeats.csv: mean, 95 % interval, spread, gain.
"""

import blend
import make_folds
import stack
import train
from tonestack import cli
from tonestack.base.console import aligned
from tonestack.base.files import write_csv
from tonestack.config.call import Call
from tonestack.studies import repeats

import pandas as pd


def run(call: Call) -> pd.DataFrame:
    """Train, blend and stack in every repeat that is not up to date, then print and write the table of all."""
    make_folds.run(call, quiet=True)
    calls = repeats.calls(call)
    repeats.copy_folds(call.folds, calls[0].folds)
    for repeated in calls:
        make_folds.run(repeated, quiet=True)
    repeats.check_folds(calls)
    for k, repeated in enumerate(calls):
        print(f"repeat {k + 1} of {len(calls)}: {repeated.name}, folds.seed={repeated.data.folds.seed}")
        for verb in (train, blend, stack):
            verb.run(repeated)
    name = call.data.baseline
    baseline = calls[0].experiment(name).name if name else ""
    rows = repeats.table(calls, baseline)
    write_csv(call.reports / "repeats.csv", rows)
    for note in call.competition().notes:
        print(f"note: {note}")
    print(repeats.describe(calls))
    print(repeats.rendered(rows, baseline, aligned))
    print(call.reports / "repeats.csv")
    return rows


if __name__ == "__main__":
    cli.main(run, __doc__)
