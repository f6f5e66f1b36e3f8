"""Match recordings with voices: ./run.sh match CLIP.wav ... enrol=FOLDER data=voices name=NAME

Takes  recordings of any format; a Judge of data= and name=, trained first where it is not yet; enrol=FOLDER of clips of
       a new voice, or of one folder per new voice; nothing is trained for them.
Leaves reports/<name>/match.csv (query, candidate, count) and match.png.
"""

from pathlib import Path
from typing import ClassVar

import train
from tonestack import cli
from tonestack.base.console import aligned
from tonestack.base.errors import UserError
from tonestack.base.files import write_csv
from tonestack.base.section import Section
from tonestack.config.call import Call
from tonestack.deploy import voice_matching
from tonestack.tables import votes

import pandas as pd
from pydantic import Field


class Wanted(Section):
    """The words of this verb alone."""

    BARE: ClassVar[str] = "clip"

    clip: tuple[str, ...] = Field((), description="recordings to recognise; the key may be left out")
    enrol: str | None = Field(None, description="folder of clips of a new voice, or of one folder per new voice")
    known: bool = Field(True, description="compare with the voices of training, too")


def run(call: Call, wanted: Wanted) -> pd.DataFrame:
    """Print the votes per recording; return them."""
    if call.data.task != "match":
        raise UserError(
            f"match: data={call.words.data} is of task {call.data.task}; give data=voices root=FOLDER name=NAME"
        )
    if not wanted.clip:
        raise UserError("match: name a recording: ./run.sh match CLIP.wav enrol=FOLDER data=voices name=NAME")
    queries = [Path(name).expanduser() for name in wanted.clip]
    new = voice_matching.enrolled(Path(wanted.enrol).expanduser()) if wanted.enrol else []
    voice_matching.check([*queries, *(path for voice in new for path in voice.paths)], call.data.audio)
    judges = [experiment for experiment in train.run(call) if "vote" in experiment.config.network]
    if not judges:
        raise UserError("match: none of the models is a siamese network (a Judge); give model=judge_conv2d_lstm")
    for experiment in judges:
        table = voice_matching.recognise(call, experiment, queries, new, wanted.known)
        print(f"{experiment.name}:")
        print(aligned(pd.DataFrame(votes.rendered(table, {})).drop(columns="")))
    write_csv(call.reports / "match.csv", table)
    print(votes.draw(call.reports / "match.png", table, {}))
    return table


if __name__ == "__main__":
    cli.main(run, __doc__, own=Wanted)
