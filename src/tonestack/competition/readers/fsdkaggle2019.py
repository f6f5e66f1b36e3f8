"""Freesound Audio Tagging 2019 (several labels per clip): under Kaggle's file names or Zenodo's.

Kaggle: `train_curated.csv`, `train_noisy.csv` (`fname, labels`), `sample_submission.csv` (one column per class),
`train_curated/`, `train_noisy/`, `test/`. Zenodo (record 3612637): `FSDKaggle2019.meta/` with
`train_curated_post_competition.csv`, `train_noisy_post_competition.csv` and `test_post_competition.csv`,
`FSDKaggle2019.audio_train_curated/` and so on.
Curated clips are the verified ones. Noisy clips of one Flickr video (a column of Zenodo's csv) are one group.
"""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd
from pydantic import Field

META = "FSDKaggle2019.meta"
VIDEO = "flickr_video_URL"
PARTS = ("curated", "noisy")


class Params(Section):
    """Reader settings. `distrust`: curated clips whose labels are known to be wrong; they count as noisy ones.

    `classes`: the labels allowed (none given: the sample submission's columns, else the labels of the train csv).
    """

    classes: tuple[str, ...] = Field(
        (), description="labels allowed; none given: the sample submission's columns, else those of the train csvs"
    )
    distrust: tuple[str, ...] = Field(
        (), description="curated clips whose labels are known to be wrong; they count as noisy clips"
    )


def read(params: Params, root: Path) -> Competition:
    """Read the competition below `root` from its csv files; the audio and the noisy part may be absent."""
    if csvs.first_file(root, _csvs("train_curated")) is None:
        raise UserError(f"{root}: there is no {' or '.join(_csvs('train_curated'))}; check root= or download it")
    sample = csvs.first_file(root, ("sample_submission.csv", f"{META}/sample_submission.csv"))
    header = tuple(csvs.read_header(sample)[1:]) if sample else ()
    allowed = params.classes or header
    found = [part for name in PARTS if (part := _train_part(name, params, allowed, root))]
    train = pd.concat([frame for frame, _ in found], ignore_index=True)
    repeated = train.loc[train["clip_id"].duplicated(), "clip_id"]
    if len(repeated):
        raise UserError(f"{root}: clip '{repeated.iloc[0]}' is in the curated and in the noisy csv; keep one row")
    classes = tuple(sorted(allowed or {name for _, names in found for name in names}))
    source, rest = sample or scoring_table(params, root), "" if train["verified"].all() else "noisy"
    if source is None:
        return Competition(root, train, csvs.test_frame([], []), classes, None, unverified=rest)
    ids = csvs.clip_ids(csvs.read_table(source, ["fname"]), "fname", source)  # never a test label
    csvs.check_apart(train["clip_id"], ids, source)
    folder = _audio_folder(root, "test")
    test = csvs.test_frame(ids, [csvs.clip_path(folder, i) for i in ids])
    submission = SubmissionFormat(("fname", *(header or classes)), tuple(ids), "scores")
    return Competition(root, train, test, classes, submission, unverified=rest)


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of test labels (`fname, labels, usage`) published after the competition, if it exists."""
    return csvs.first_file(root, _csvs("test"))


def _train_part(
    part: str, params: Params, allowed: tuple[str, ...], root: Path
) -> tuple[pd.DataFrame, list[str]] | None:
    """Clips of the curated or the noisy csv, and every label that occurs; None where there is no such csv."""
    source = csvs.first_file(root, _csvs(f"train_{part}"))
    if source is None:
        return None
    table = csvs.read_table(source, ["fname", "labels"], [VIDEO])
    ids = csvs.clip_ids(table, "fname", source)
    labels, single = csvs.label_lists(table, "labels", source, allowed or None)
    folder = _audio_folder(root, f"train_{part}")
    verified = [part == "curated" and name not in params.distrust for name in ids]
    group = list(table[VIDEO]) if VIDEO in table else ""
    paths = [csvs.clip_path(folder, name) for name in ids]
    return csvs.train_frame(ids, paths, labels, verified, group), single


def _csvs(name: str) -> tuple[str, ...]:
    """Possible paths of a csv: Kaggle's name, Zenodo's, Zenodo's in its folder. Kaggle's own test.csv has no labels."""
    later = f"{name}_post_competition.csv"
    return (later, f"{META}/{later}") if name == "test" else (f"{name}.csv", later, f"{META}/{later}")


def _audio_folder(root: Path, name: str) -> str:
    """Zenodo's name of an audio folder if it (or Zenodo's csv) exists, else Kaggle's."""
    zenodo = f"FSDKaggle2019.audio_{name}"
    if (root / name).is_dir():
        return name
    return zenodo if (root / zenodo).is_dir() or (root / META).is_dir() else name
