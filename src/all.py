"""The whole pipeline: from recordings and a csv to a scored submission.

prepare -> make_folds -> clean_labels -> pseudo_label -> train -> blend -> stack -> submit -> score -> report, and
repeat if folds.repeats is set. With a pool of unlabelled soundscapes, student takes the place of the label stages.
Stages that are up to date print so; a killed run resumes where it stopped.
"""

import time

import blend
import clean_labels
import pseudo_label
import repeat
import report
import score
import stack
import student
import submit
import train
from tonestack import cli
from tonestack.cleaning import choose, student_rounds
from tonestack.config.call import Call
from tonestack.ensemble import leaderboard
from tonestack.labels import revisions


def run(call: Call) -> None:
    """Run every stage in order."""
    started = time.monotonic()
    score.check(call)
    call = call.but(revision=loop(call))
    revisions.choose(call.folds, call.words.revision or "r0")
    train.run(call)
    leaderboard.update(call)
    blend.run(call)
    stack.run(call)
    submit.run(call)
    if call.scoring is not None:
        score.run(call)
    if call.data.folds.repeats > 1:
        repeat.run(call)
    report.run(call)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"all: done in {minutes}:{seconds:02d}")


def loop(call: Call) -> str:
    """Return the revision to train on: the best of all cleaning methods, then of all rounds, by verified clips."""
    if student_rounds.wanted(call) and call.words.revision is None:
        return student.run(call.but(fold=None))
    if not choose.wanted(call):
        return call.words.revision or "r0"
    call = call.plain()
    names = ["r0", *clean_labels.run(call)]
    best = choose.choose(call, names)
    rounds = pseudo_label.run(call, best)
    return choose.choose(call, [*names, *rounds]) if rounds else best


if __name__ == "__main__":
    cli.main(run, __doc__)
