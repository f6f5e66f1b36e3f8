"""FSD50K (Fonseca et al. 2020): 51,197 Freesound clips, 200 classes, several a clip; Zenodo record 4060432.

`FSD50K.ground_truth/dev.csv` (`fname,labels,mids,split`, names without a suffix) lists the clips of
`FSD50K.dev_audio/`, `eval.csv` those of `FSD50K.eval_audio/`: the test clips, whose labels only `score` reads.
`vocabulary.csv` (`number,label,mid`, without a header) has the classes. The uploaders in
`FSD50K.metadata/dev_clips_info_FSD50K.json` are groups, if that file is there.
"""

import json
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd
from pydantic import Field

TRUTH = "FSD50K.ground_truth"
INFO = "FSD50K.metadata/dev_clips_info_FSD50K.json"
SUFFIX = ".wav"


class Params(Section):
    """Reader settings. `official_split`: dev.csv's own split into train and val is kept as a single fold."""

    official_split: bool = Field(
        True, description="val of dev.csv is the one fold that validates; false: folds of all dev clips, by uploader"
    )


def read(params: Params, root: Path) -> Competition:
    """Read the csv files below `root`; the audio and the eval part may be absent."""
    source = root / TRUTH / "dev.csv"
    table = csvs.read_table(source, ["fname", "labels", "split"])
    ids = csvs.clip_ids(table, "fname", source)
    allowed = _vocabulary(root / TRUTH / "vocabulary.csv")
    labels, single = csvs.label_lists(table, "labels", source, allowed or None)
    paths = [csvs.clip_path("FSD50K.dev_audio", name, SUFFIX) for name in ids]
    fold = _split(table, source) if params.official_split else -1
    train = csvs.train_frame(ids, paths, labels, True, _uploaders(root / INFO, ids), fold)
    classes = tuple(sorted(allowed or set(single)))
    test_source = scoring_table(params, root)
    if test_source is None:
        return Competition(root, train, csvs.test_frame([], []), classes, None)
    tests = csvs.clip_ids(csvs.read_table(test_source, ["fname"]), "fname", test_source)  # never a test label
    csvs.check_apart(ids, tests, test_source)
    test = csvs.test_frame(tests, [csvs.clip_path("FSD50K.eval_audio", name, SUFFIX) for name in tests])
    return Competition(root, train, test, classes, SubmissionFormat(("fname", *classes), tuple(tests), "scores"))


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of the eval clips' labels (`fname, labels, mids`), if it is there."""
    return csvs.first_file(root, [f"{TRUTH}/eval.csv"])


def _vocabulary(source: Path) -> list[str]:
    """The classes, of the second column of a csv without a header; none where there is no such file."""
    if not source.is_file():
        return []
    return csvs.labels(csvs.read_rows(source, ["number", "label", "mid"]), "label", source)


def _split(table: pd.DataFrame, source: Path) -> list[int]:
    """Fold 0 for val, none (-1: only ever trained on) for train."""
    for row, part in zip(table.index, table["split"], strict=True):
        if part not in ("train", "val"):
            raise UserError(f"{source}: row {row}: 'split' is '{part}', not train or val; fix the row")
    return [0 if part == "val" else -1 for part in table["split"]]


def _uploaders(source: Path, ids: list[str]) -> list[str] | str:
    """The uploader of every clip; nothing where the file is absent."""
    if not source.is_file():
        return ""
    try:
        known = json.loads(source.read_text(encoding="utf-8"))
        return [str(known[name]["uploader"]) for name in ids]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{source}: cannot be read ({type(error).__name__}: {error}); restore or remove it") from None
