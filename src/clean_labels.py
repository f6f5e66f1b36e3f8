"""Clean the labels: decide, holdout by holdout, which unverified clips to keep, relabel, drop or leave.

Takes the clip table, folds/<name>/r0.csv and the features of the judges or of the embedding. `clean.method=NAME` is
one method (agree, confident, label_spreading, self_verification), auto all candidates; `revision=` is the parent.
Leaves folds/<name>/<method>.csv and .json: a label revision; decisions.csv; reports/<name>/clean-<method>.csv, tsne-*.
"""

import make_folds
import prepare
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.cleaning import clean
from tonestack.config.call import Run
from tonestack.labels import revisions


def run(run: Run) -> list[str]:
    """Write a revision for every method of this call that is not up to date; return their names."""
    made = make(run)
    if made:
        revisions.publish(run.folds, made[0])
    return made


def make(run: Run) -> list[str]:
    """The same, decisions.csv left as it is."""
    methods = clean.methods(run)
    if not methods:
        print("clean: clean.method=none, nothing to do")
        return []
    if run.data.task != "classify":
        raise UserError(f"clean: task {run.data.task}: only clips of one label each can be cleaned")
    prepare.run(run, clean.frontends(run))
    make_folds.run(run)
    return [clean.clean(run, method, run.words.revision or "r0") for method in methods]


if __name__ == "__main__":
    cli.main(run, __doc__)
