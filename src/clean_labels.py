"""Clean the labels: decide, holdout by holdout, which unverified clips to keep, relabel, drop or leave.

Takes the clip table, folds/<name>/r0.csv and the features of the pair models or the embedding. `clean.method=NAME` is
one method (agree, confident, label_spreading, self_verification), auto all candidates; `revision=` is the parent.
Leaves folds/<name>/<method>.csv and .json: a label revision; decisions.csv; reports/<name>/clean-<method>.csv, tsne-*.
"""

import make_folds
import prepare
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.cleaning import method_revision, revision_files
from tonestack.config.call import Call


def run(call: Call) -> list[str]:
    """Write a revision for every method of this call that is not up to date; return their names."""
    made = make(call)
    if made:
        revision_files.publish(call.folds, made[0])
    return made


def make(call: Call) -> list[str]:
    """Like `run`, without writing decisions.csv."""
    methods = method_revision.methods(call)
    if not methods:
        print("clean: clean.method=none, nothing to do")
        return []
    if not (call.task.tags and call.task.one_label):
        raise UserError(f"clean: task {call.data.task}: only clips of one label each can be cleaned")
    prepare.run(call, method_revision.frontends(call))
    make_folds.run(call)
    return [method_revision.make(call, method, call.words.revision or "r0") for method in methods]


if __name__ == "__main__":
    cli.main(run, __doc__)
