"""Few-shot voice matching: whose voice is it, among candidates known by a few clips? Vote shares, query x candidate.

A query is a clip, a candidate a voice, so that tables are those of `classify`. On top of them come the votes on the
clips to recognise, in `oof/<name>/<experiment>/votes.csv`, and a picture of them.
"""

from collections.abc import Sequence
from pathlib import Path

from tonestack.base.files import read_csv, write_csv
from tonestack.tables import votes
from tonestack.tables.competition import Competition
from tonestack.tasks import Task

import pandas as pd


class Match(Task):
    """Rows are queries, columns are voices; no recording has a tag."""

    name = "match"
    tags = False

    def trained(self, folders: Sequence[Path], competition: Competition) -> None:
        """Write every siamese network's votes on the clips to recognise, once its folds are there."""
        queries = competition.test["clip_id"].tolist()
        for folder in folders if queries else ():
            if votes.are_in(folder):
                write_csv(folder / votes.FILE, votes.of_folder(folder, queries, competition.classes))

    def scored(self, oof: Path, reports: Path, labels: pd.DataFrame) -> None:
        """Print and draw the votes, the true voice in red."""
        known = dict(zip(labels["clip_id"], labels["label"], strict=True))
        for path in sorted(oof.glob(f"*/{votes.FILE}")):
            table = read_csv(path, ["query", "candidate"], ["query", "candidate", "count"])
            lines = votes.rendered(table, known)
            right = sum(line[""] == "right" for line in lines)
            picture = votes.draw(reports / f"votes-{path.parent.name}.png", table, known)
            print(f"{path.parent.name}: {right} of {len(known)} voices right; {picture}")


TASK = Match()
