"""Freesound General-Purpose Audio Tagging (Kaggle 2018): under Kaggle's file names or Zenodo's.

Kaggle: `train.csv`, `sample_submission.csv`, `audio_train/`, `audio_test/`. Zenodo (record 2552860):
`FSDKaggle2018.meta/{train_post_competition,test_post_competition_scoring_clips}.csv`,
`FSDKaggle2018.audio_train/`, `FSDKaggle2018.audio_test/`.
"""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition, SubmissionFormat

from pydantic import Field

META = "FSDKaggle2018.meta"
ZENODO = "FSDKaggle2018."
TRAIN_CSVS = ("train.csv", "train_post_competition.csv", f"{META}/train_post_competition.csv")
SCORING_CSVS = tuple(
    f"{folder}{name}.csv"
    for folder in ("", f"{META}/")
    for name in ("test_post_competition_scoring_clips", "test_post_competition")
)


class Params(Section):
    """Reader settings. `classes`: the labels allowed (none given: those of the train csv)."""

    classes: tuple[str, ...] = Field((), description="labels allowed; none given: those of the train csv")
    k: int = Field(3, ge=1, description="labels per row of the submission")


def read(params: Params, root: Path) -> Competition:
    """Read the competition below `root` from its csv files; the audio may be absent."""
    source = csvs.first_file(root, TRAIN_CSVS)
    if source is None:
        raise UserError(f"{root}: there is no {' or '.join(TRAIN_CSVS)}; check root= or download the competition")
    table = csvs.read_table(source, ["fname", "label", "manually_verified"])
    ids = csvs.clip_ids(table, "fname", source)
    labels = csvs.labels(table, "label", source, params.classes or None, one_word=True)
    verified = csvs.flags(table, "manually_verified", source)
    folder = _audio_folder(root, "audio_train")
    train = csvs.train_frame(ids, [csvs.clip_path(folder, i) for i in ids], labels, verified)

    test_ids, test_source = _test_ids(root)
    csvs.check_apart(ids, test_ids, test_source)
    folder = _audio_folder(root, "audio_test")
    test = csvs.test_frame(test_ids, [csvs.clip_path(folder, i) for i in test_ids])
    submission = SubmissionFormat(("fname", "label"), tuple(test_ids), "labels", params.k) if test_ids else None
    return Competition(root, train, test, tuple(sorted(params.classes or set(labels))), submission)


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of test labels (`fname, label, usage`) published after the competition, if it exists."""
    return csvs.first_file(root, SCORING_CSVS)


def _audio_folder(root: Path, name: str) -> str:
    """Zenodo's name of an audio folder if it (or Zenodo's csv) exists, else Kaggle's."""
    if (root / name).is_dir():
        return name
    return ZENODO + name if (root / (ZENODO + name)).is_dir() or (root / META).is_dir() else name


def _test_ids(root: Path) -> tuple[list[str], Path]:
    """Test clips in the submission's order, and the file they come from; never a test label."""
    source = csvs.first_file(root, ("sample_submission.csv", f"{META}/sample_submission.csv", *SCORING_CSVS))
    if source is not None:
        return csvs.clip_ids(csvs.read_table(source, ["fname"]), "fname", source), source
    folder = root / _audio_folder(root, "audio_test")
    listing = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [p.name for p in listing if p.suffix.lower() == ".wav" and not p.name.startswith(".")]
    return [check_clip_name(name, str(folder)) for name in names], folder
