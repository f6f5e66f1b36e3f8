"""Pseudo-label rounds: models label test and unverified clips, and the next round's models are trained on them.

Takes folds/<name>/ and the label revision to start from (`revision=`, r0 if left out); `pseudo.regime=NAME` is a file
of configs/pseudo/, other `pseudo.` keys take precedence.
Leaves folds/<name>/pseudo<round>.csv and .json, the rounds' models, reports/<name>/pseudo.csv and pseudo.png.
"""

import make_folds
import prepare
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.cleaning import pseudo_rounds, revision_files
from tonestack.config.call import Call


def run(call: Call, base: str | None = None) -> list[str]:
    """Run all rounds that are not up to date; return the revisions made."""
    made = make(call, base or call.words.revision or "r0")
    if made:
        revision_files.publish(call.folds, made[-1])
    return made


def make(call: Call, base: str) -> list[str]:
    """Like `run`, without writing decisions.csv."""
    if not call.task.tags:
        raise UserError(f"pseudo: task {call.data.task}: its clips have no labels to predict")
    models = pseudo_rounds.experiments(call, pseudo_rounds.settings(call), base)
    prepare.run(call, [spec for experiment in models for spec in experiment.config.frontends])
    make_folds.run(call)
    return pseudo_rounds.make_rounds(call, base)


if __name__ == "__main__":
    cli.main(run, __doc__)
