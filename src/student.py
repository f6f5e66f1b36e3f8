"""Noisy-student rounds: models label a pool of recordings without labels, and the next round learns from them, too.

Takes folds/<name>/, the label revision to start from (`revision=`, r0 if left out) and the pool that the reader has
found (train_soundscapes/, unlabeled_soundscapes/).
Leaves folds/<name>/student<round>.csv and .json, the rounds' models, oof/<name>/<experiment>/pool<k>.parquet,
reports/<name>/student.csv and student.png.
"""

import make_folds
import prepare
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.cleaning import student_rounds
from tonestack.config.call import Call


def run(call: Call, base: str | None = None) -> str:
    """Run all rounds that are not up to date; return the best revision."""
    if not student_rounds.wanted(call):
        raise UserError(
            "student: needs a multi-label competition with unlabelled recordings (a pool) and student.rounds above 0"
        )
    base = base or call.words.revision or "r0"
    prepare.run(call)
    make_folds.run(call)
    return student_rounds.make_rounds(call, base)


if __name__ == "__main__":
    cli.main(run, __doc__)
