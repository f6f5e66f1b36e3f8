"""Tell whose voice a recording is: ./run.sh match CLIP.wav ... enrol=FOLDER data=voices name=NAME

Takes  recordings of any format; a Judge of data= and name=, trained first where it is not yet; enrol=FOLDER of clips of
       a new voice, or of one folder for each new voice: nothing is trained for them.
Leaves reports/<name>/match.csv (query, candidate, count) and match.png.
"""

from tonestack import environment  # noqa: F401  # isort: skip

from pathlib import Path
from typing import ClassVar

import pandas as pd
from pydantic import Field

import train
from tonestack import cli, matching, votes
from tonestack.errors import UserError
from tonestack.leaderboard import aligned
from tonestack.run import Run
from tonestack.section import Section


class Wanted(Section):
    """The words of this verb alone."""

    BARE: ClassVar[str] = "clip"

    clip: tuple[str, ...] = Field((), description="recordings to recognise; the key may be left out")
    enrol: str | None = Field(None, description="folder of clips of a new voice, or of one folder a new voice")
    known: bool = Field(True, description="compare with the voices learnt from, too")


def run(run: Run, wanted: Wanted) -> pd.DataFrame:
    """Print who every recording was taken for; return the votes."""
    if run.data.task != "match":
        raise UserError(
            f"match: data={run.words.data} is of task {run.data.task}; give data=voices root=FOLDER name=NAME"
        )
    if not wanted.clip:
        raise UserError("match: name a recording: ./run.sh match CLIP.wav enrol=FOLDER data=voices name=NAME")
    queries = [Path(name).expanduser() for name in wanted.clip]
    new = matching.enrolled(Path(wanted.enrol).expanduser()) if wanted.enrol else []
    matching.check([*queries, *(path for voice in new for path in voice.paths)], run.data.audio)
    judges = [experiment for experiment in train.run(run) if "vote" in experiment.config.network]
    if not judges:
        raise UserError("match: none of the models is a Judge; give model=judge_conv2d_lstm")
    for experiment in judges:
        table = matching.recognise(run, experiment, queries, new, wanted.known)
        print(f"{experiment.name}:")
        print(aligned(pd.DataFrame(votes.rendered(table, {})).drop(columns="")))
    votes.write(run.reports / "match.csv", table)
    print(votes.draw(run.reports / "match.png", table, {}))
    return table


if __name__ == "__main__":
    cli.main(run, __doc__, own=Wanted)
