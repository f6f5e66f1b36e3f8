"""Rerun published tables: ./run.sh study name=seed_tables data=NAME. Here `name=` names the study.

Takes  configs/study/<study>.yaml and what train takes.
Leaves oof/<data>-<study>/, tables like any other, and reports/<data>/study-<study>.md: our numbers, the published ones.
"""

import clean_labels
import make_folds
import prepare
import pseudo_label
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.cleaning import choose
from tonestack.config.call import Call
from tonestack.studies import published
from tonestack.training import queue


def run(call: Call) -> None:
    """Train every row, join and average, score, write the tables."""
    name = call.words.name
    if name is None:
        raise UserError(f"study: name the study: name={' or name='.join(published.available())}")
    study = published.Study(call.but(name=None), name, published.load(name))
    for competition in study.competitions():
        make_folds.run(competition)
    for step in study.settings.labels:
        make_labels(study.changed(step.set, revision=step.parent), step.stage)
    experiments = study.experiments()
    for competition in study.competitions():
        prepare.run(competition, [spec for one in experiments.values() for spec in one.config.frontends])
    todo = study.jobs(experiments)
    print(f"study: {len(experiments)} experiments, {len(todo)} folds to train")
    queue.run_all(study.call, todo)
    made, lacking = study.join(experiments)
    text = study.render(made, lacking, study.scores(made))
    print(text)
    print(published.write(study, text))


def make_labels(call: Call, stage: str) -> None:
    """Write the label revisions of a step; if all clips are verified, or none, there is nothing to decide."""
    if not choose.undecided(call):
        return
    if stage == "clean_labels":
        clean_labels.make(call)
    else:
        pseudo_label.make(call, call.words.revision or "r0")


if __name__ == "__main__":
    cli.main(run, __doc__)
