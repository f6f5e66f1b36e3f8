"""Few-shot voice matching: whose voice is it, among candidates known by a few clips? Vote shares, query x candidate.

A query is a clip, a candidate a voice, so that tables are those of `classify`. On top of them come the votes of the
clips to recognise, in `oof/<name>/<experiment>/votes.csv`, and a picture of them.
"""

from typing import TYPE_CHECKING

from tonestack.base.files import read_csv
from tonestack.tables import votes
from tonestack.tasks.classify import LOSS, METRICS, log_probabilities, probabilities, targets, truth

import pandas as pd

if TYPE_CHECKING:
    from tonestack.config.call import Experiment, Run

__all__ = ["LOSS", "METRICS", "log_probabilities", "probabilities", "scored", "targets", "trained", "truth"]


def trained(run: "Run", experiments: "list[Experiment]") -> None:
    """Write every Judge's votes on the clips to recognise, once its folds are there."""
    competition = run.competition()
    queries = competition.test["clip_id"].tolist()
    for experiment in experiments:
        if queries and "vote" in experiment.config.network:
            folder = run.oof / experiment.name
            votes.write(folder / votes.FILE, votes.of_folder(folder, queries, competition.classes))


def scored(run: "Run", labels: pd.DataFrame) -> None:
    """Say and draw the votes, the true voice in red; labels: `clip_id, label` of the clips whose truth is known."""
    known = dict(zip(labels["clip_id"], labels["label"], strict=True))
    for path in sorted(run.oof.glob(f"*/{votes.FILE}")):
        table = read_csv(path, ["query", "candidate"], ["query", "candidate", "count"])
        lines = votes.rendered(table, known)
        right = sum(line[""] == "right" for line in lines)
        picture = votes.draw(run.reports / f"votes-{path.parent.name}.png", table, known)
        print(f"{path.parent.name}: {right} of {len(known)} voices right; {picture}")
