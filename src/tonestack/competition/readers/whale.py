"""Right whale calls (ICML 2013 Whale Challenge, "redux"): `.aif` files whose names tell the label; no csv of labels.

`train2/20090328_000000_002s3ms_TRAIN0_1.aif` was recorded on 28 March 2009 and holds a call (`_1`; `_0`: none).
Recordings of one day are a group: neighbours in time are alike. The test clips (`test2/…_Test0.aif`) are
the rows of `sampleSubmission.csv` (`clip,probability`) or, without it, the files found.
"""

import re
from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.competition.readers.folder import clip_id, recordings
from tonestack.tables.competition import Competition, SubmissionFormat

from pydantic import Field

NAME = re.compile(r"(?P<day>\d{8})_(?P<hour>\d\d).*_(?P<label>[01])\.aiff?", re.IGNORECASE)
TRAIN, TEST = ("train2", "train"), ("test2", "test")  # folders that Kaggle's archives make, the first there is
SAMPLES = ("sampleSubmission.csv", "sample_submission.csv")
CLASSES = ("0", "1")


class Params(Section):
    """Reader settings. `group`: what folds keep together; where there are fewer days than folds, `hour` helps."""

    group: Literal["day", "hour"] = Field(
        "day", description="recordings that folds keep together: of a day, or an hour"
    )


def read(params: Params, root: Path) -> Competition:
    """List the recordings below `root`; none is opened."""
    folder = _folder(root, TRAIN)
    paths = _paths(root, folder)
    if not paths:
        raise UserError(f"{root / folder}: holds no recording; unpack {folder}.zip into {root}")
    named = {name: NAME.fullmatch(name) for name in paths}
    odd = next((name for name, found in named.items() if found is None), None)
    if odd is not None:
        raise UserError(f"{root / paths[odd]}: not named YYYYMMDD_…_0.aif or …_1.aif, so without a label; remove it")
    labels = [found["label"] for found in named.values() if found]
    days = [found["day"] + (f"_{found['hour']}" if params.group == "hour" else "") for found in named.values() if found]
    train = csvs.train_frame(list(paths), list(paths.values()), labels, group=days)
    ids, test_paths = _test(root)
    csvs.check_apart(paths, ids, root)
    form = SubmissionFormat(("clip", "probability"), tuple(ids), "probability", 1, positive="1") if ids else None
    return Competition(root, train, csvs.test_frame(ids, test_paths), CLASSES, form)


def _test(root: Path) -> tuple[list[str], list[str]]:
    """Names and paths of the test clips: the sample submission's rows, or the files found."""
    folder = _folder(root, TEST)
    found = _paths(root, folder)
    sample = csvs.first_file(root, SAMPLES)
    if sample is None:
        return list(found), list(found.values())
    ids = csvs.clip_ids(csvs.read_table(sample, ["clip"]), "clip", sample)
    return ids, [found.get(name, csvs.clip_path(folder, name)) for name in ids]


def _folder(root: Path, names: tuple[str, ...]) -> str:
    return next((name for name in names if (root / name).is_dir()), names[0])


def _paths(root: Path, folder: str) -> dict[str, str]:
    """The path of every recording below a folder, by its name; a name that is there twice is a `UserError`."""
    found: dict[str, str] = {}
    for path in recordings(root, root / folder):
        if path.name in found:
            raise UserError(f"{path}: {root / found[path.name]} has the same name; remove one")
        found[path.name] = clip_id(path, root)
    return found
