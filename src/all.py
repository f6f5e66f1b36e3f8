"""The whole pipeline: from recordings and a csv to a scored submission.

prepare -> make_folds -> train -> blend -> stack -> submit -> score. Stages that are up to date say so;
a run that was killed goes on where it stopped.
"""

import environment  # noqa: F401  # isort: skip

import time

import blend
import score
import stack
import submit
import train
from tonestack import cli
from tonestack.run import Run


def run(run: Run) -> None:
    """Run every stage in order."""
    started = time.monotonic()
    train.run(run)
    blend.run(run)
    stack.run(run)
    submit.run(run)
    if run.scoring is not None:
        score.run(run)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"all: done in {minutes}:{seconds:02d}")


if __name__ == "__main__":
    cli.main(run, __doc__)
