"""The whole pipeline: from recordings and a csv to a scored submission.

prepare -> make_folds -> clean_labels -> pseudo_label -> train -> blend -> stack -> submit -> score -> report, and
repeat where folds.repeats asks for it. Stages that are up to date say so; a run that was killed goes on where it
stopped.
"""

import time

import blend
import clean_labels
import pseudo_label
import repeat
import report
import score
import stack
import submit
import train
from tonestack import cli
from tonestack.cleaning import choose
from tonestack.config.call import Run
from tonestack.labels import revisions


def run(run: Run) -> None:
    """Run every stage in order."""
    started = time.monotonic()
    run = run.but(revision=loop(run))
    revisions.choose(run.folds, run.words.revision or "r0")
    train.run(run)
    blend.run(run)
    stack.run(run)
    submit.run(run)
    if run.scoring is not None:
        score.run(run)
    if run.data.folds.repeats > 1:
        repeat.run(run)
    report.run(run)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"all: done in {minutes}:{seconds:02d}")


def loop(run: Run) -> str:
    """The label revision to train on: of every cleaning method, then of the rounds, the best by honest CV."""
    if not choose.wanted(run):
        return run.words.revision or "r0"
    run = run.plain()
    names = ["r0", *clean_labels.run(run)]
    best = choose.choose(run, names)
    rounds = pseudo_label.run(run, best)
    return choose.choose(run, [*names, *rounds]) if rounds else best


if __name__ == "__main__":
    cli.main(run, __doc__)
