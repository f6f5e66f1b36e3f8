"""Write a data config for files of your own: looks at a csv and a folder of recordings, says what it sees and guesses.

Takes  csv=FILE (clips and labels), audio=FOLDER (their recordings); both below one folder, which becomes the root;
       name=NAME of the config to write (left out: the folder's).
Leaves configs/data/<name>.yaml, never over one that is there. A question mark stands wherever a person should look.
"""

import os
import re
from pathlib import Path

from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.base.files import write_text
from tonestack.base.section import Section
from tonestack.competition.readers import table as reader
from tonestack.competition.survey import guess, written
from tonestack.config import layers
from tonestack.config.call import Call

from pydantic import Field


class InitWords(Section):
    """Words that only this stage has."""

    csv: str | None = Field(None, description="csv of the training clips and their labels")
    audio: str | None = Field(None, description="folder of the recordings that the csv names")
    label: str | None = Field(None, description="column of the labels; left out: guessed")
    group: str | None = Field(None, description="column that folds keep together; left out: guessed")


def run(call: Call, words: InitWords) -> None:
    """Look, print, write the config, and read the competition by it."""
    csv, audio = places(words)
    root = folder_of(csv, audio)
    name = call.words.name or re.sub(r"\W+", "_", root.resolve().name).strip("_").lower() or "own"
    path = layers.CONFIGS / "data" / f"{name}.yaml"
    if path.exists():
        raise UserError(f"{path}: is there already and stays as it is; give another name=")
    found = guess.look(root, csv, audio, words.label, words.group)
    for finding in found:
        print(finding.line())
    write_text(path, written.text(name, str(root), found))
    print(f"{path}: look at the lines with a question mark, then ./run.sh plan data={name}")
    check(root, guess.settings(found))


def places(words: InitWords) -> tuple[Path, Path]:
    """The csv and the folder of the words; `UserError` where one is missing."""
    if words.csv is None or words.audio is None:
        raise UserError("init: give csv=FILE (clips and labels) and audio=FOLDER (their recordings)")
    csv, audio = Path(words.csv).expanduser(), Path(words.audio).expanduser()
    if not csv.is_file():
        raise UserError(f"csv={words.csv}: there is no such file")
    if not audio.is_dir():
        raise UserError(f"audio={words.audio}: there is no such folder")
    return csv, audio


def folder_of(csv: Path, audio: Path) -> Path:
    """The folder that csv and recordings lie in, the deepest one; `UserError` if only the disk's root holds both."""
    relative = not csv.is_absolute() and not audio.is_absolute()
    both = [str(csv.parent), str(audio)] if relative else [str(csv.parent.absolute()), str(audio.absolute())]
    root = Path(os.path.commonpath(both) or ".")
    if root == Path(root.anchor) and root.anchor:
        raise UserError(f"{csv} and {audio} have no folder in common; put them below one")
    return root


def check(root: Path, values: dict[str, object]) -> None:
    """Read the competition as the config says; print what the reader refuses."""
    given = {key.removeprefix("reader."): value for key, value in values.items() if key.startswith("reader.")}
    try:
        found = reader.read(reader.Params.parse(given, "init"), root)
    except UserError as error:
        print(f"? read        not yet  <- {error}")
        return
    print(
        f"  read        {len(found.train)} training clips of {len(found.classes)} classes, {len(found.test)} test clips"
    )


if __name__ == "__main__":
    cli.main(run, __doc__, own=InitWords)
