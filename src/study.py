"""Rerun a document's tables: ./run.sh study name=seed_tables data=NAME. Here `name=` names the study.

Takes  configs/study/<study>.yaml and what train takes.
Leaves oof/<data>-<study>/, tables like any other, and reports/<data>/study-<study>.md: our numbers, the document's.
"""

from tonestack import environment  # noqa: F401  # isort: skip

import make_folds
import prepare
from tonestack import cli, jobs, studies
from tonestack.errors import UserError
from tonestack.run import Run


def run(run: Run) -> None:
    """Train every row, join and average, score, write the tables."""
    name = run.words.name
    if name is None:
        raise UserError(f"study: name the study: name={' or name='.join(studies.available())}")
    study = studies.Study(run.but(name=None), name, studies.load(name))
    competition = study.run
    make_folds.run(competition)
    experiments = study.experiments()
    prepare.run(competition, [experiment.config.frontend for experiment in experiments.values()])
    todo = study.jobs(experiments)
    print(f"study: {len(experiments)} experiments, {len(todo)} folds to train")
    jobs.run_all(competition, todo)
    made, lacking = study.join(experiments)
    text = study.render(made, lacking, study.scores(made))
    print(text)
    print(studies.write(study, text))


if __name__ == "__main__":
    cli.main(run, __doc__)
