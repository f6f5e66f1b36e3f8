"""Stories told truly or not: a csv of recordings, languages and labels, and a folder of recordings.

It reads MLEnd Deception (`filename, Language, Story_type`; MLEndDD_stories_small/) and the csv layouts used
in courses (`filename, language, label`; CBU0521DD_stories/). Where the csv has a column of tellers, clips of one teller
stay together in the folds; where it has none, a note says so.
"""

from pathlib import Path
from typing import Annotated

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition

import pandas as pd
from pydantic import BeforeValidator, Field

TABLES = (
    "MLEndDD_story_attributes_small.csv",
    "MLEndDD_story_attributes.csv",
    "CBU0521DD_stories_attributes.csv",
    "MLEndDeception_small_sample.csv",
    "stories.csv",
)
Names = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]


class Params(Section):
    """The csv (left out: a known one, else the only one), the folder of recordings (left out: where the first lies).

    clip, label, language, teller: column names, the first that is there is taken; case, blanks and '_' do not count.
    """

    csv: str = Field("", description="csv of the stories; left out: a known name, else the only csv")
    audio: str = Field("", description="folder of the recordings; left out: the folder of the first one")
    suffix: str = Field("", description="appended to a clip's name; .wav where the csv has bare names")
    clip: Names = Field(
        ("filename", "file"),
        description="names of the clip column, the first that exists is taken; case, blanks and '_' do not count",
    )
    label: Names = Field(("Story_type", "label"), description="names of the label column")
    language: Names = Field(("Language",), description="names of the language column")
    teller: Names = Field(("teller", "storyteller", "speaker", "participant"), description="names of the teller column")


def read(params: Params, root: Path) -> Competition:
    """Read the csv below `root`; the audio may be absent."""
    source = root / check_clip_name(params.csv, "data: csv") if params.csv else _table(root)
    header = csvs.read_header(source)
    found = {role: _column(header, getattr(params, role)) for role in ("clip", "label", "language", "teller")}
    for role in ("clip", "label"):
        if found[role] is None:
            wanted = " or ".join(getattr(params, role))
            raise UserError(f"{source}: no column '{wanted}' ({', '.join(header)}); name it with reader.{role}=")
    table = csvs.read_table(source, [column for column in dict.fromkeys(found.values()) if column])
    ids = csvs.clip_ids(table, str(found["clip"]), source)
    labels = csvs.labels(table, str(found["label"]), source)
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise UserError(f"{source}: every story is '{classes[0]}'; there is nothing to tell apart")
    teller = list(table[found["teller"]]) if found["teller"] else [""] * len(ids)
    language = list(table[found["language"]]) if found["language"] else [""] * len(ids)
    folder = check_clip_name(params.audio, "data: audio") if params.audio else _folder(root, ids[0] + params.suffix)
    paths = [csvs.clip_path(folder, name, params.suffix) for name in ids]
    return Competition(
        root,
        csvs.train_frame(ids, paths, labels, group=teller),
        csvs.test_frame([], []),
        classes,
        None,
        extras={"clips": pd.DataFrame({"clip_id": ids, "language": language})},
        notes=_notes(teller, language),
    )


def _table(root: Path) -> Path:
    """A csv of a known name, else the only csv."""
    known = csvs.first_file(root, TABLES)
    there = sorted(root.glob("*.csv"))
    if known is None and len(there) != 1:
        listed = ", ".join(path.name for path in there) or "none"
        raise UserError(f"{root}: which csv lists the stories? There is: {listed}; name it with reader.csv=FILE")
    return known or there[0]


def _column(header: list[str], names: tuple[str, ...]) -> str | None:
    """The first of `names` among the columns."""
    plain = {_plain(column): column for column in header}
    return next((plain[_plain(name)] for name in names if _plain(name) in plain), None)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


def _folder(root: Path, first: str) -> str:
    """The folder in `root` that holds the first recording; `root` itself if none does."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    return next((name for name in folders if (root / name / first).is_file()), "")


def _notes(teller: list[str], language: list[str]) -> tuple[str, ...]:
    notes = []
    unknown = sum(not name for name in teller)
    if unknown == len(teller):
        notes.append(
            "no teller is known: folds are grouped by clip alone, so a teller may be in training and in the scored fold"
        )
    elif unknown:
        notes.append(f"the teller of {unknown} of {len(teller)} clips is not known: each of these is a group by itself")
    if not any(language):
        notes.append("no language is known: a language-only baseline knows no more than the classes' shares")
    return tuple(notes)
