"""MLSP 2013 Bird Classification Challenge: 645 recordings of 10 s, 19 species, several a clip or none.

`essential_data/` (also below `mlsp_contest_dataset/`): `rec_id2filename.txt` (names without a suffix),
`species_list.txt` (`class_id,code,species`), `CVfolds_2.txt` (0 train, 1 test), `rec_labels_test_hidden.txt` with lines
of any length (`14,0,4` two species, `17` none, `20,?` a test clip), `src_wavs/`. The submission has one row per test
clip and species, `Id,Probability` with `Id = rec_id*100+class_id`.
"""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd

HOMES = ("", "mlsp_contest_dataset/")
FOLDER, NAMES, SPECIES = "essential_data", "rec_id2filename.txt", "species_list.txt"
SPLIT, LABELS = "CVfolds_2.txt", "rec_labels_test_hidden.txt"
SAMPLE = "sample_submission.csv"
HIDDEN = "?"


class Params(Section):
    """This reader has no settings."""


def read(params: Params, root: Path) -> Competition:
    """Read the files of `essential_data` below `root`; the recordings may be absent."""
    found = csvs.first_file(root, [f"{home}{FOLDER}/{NAMES}" for home in HOMES])
    if found is None:
        raise UserError(f"{root}: there is no {FOLDER}/{NAMES}; check root= or unpack mlsp_contest_dataset.zip")
    home = found.parent
    clips = _clips(home)
    codes = _codes(home / SPECIES)
    labels = _labels(home / LABELS, codes, clips)
    part = _parts(home / SPLIT)
    trained = [rec for rec in clips if part.get(rec) == "0"]
    tested = [rec for rec in clips if part.get(rec) == "1"]
    _check_parts(home, clips, part, labels)
    audio = (home / "src_wavs").relative_to(root).as_posix()
    train, test = ([clips[rec] for rec in recs] for recs in (trained, tested))
    frame = csvs.train_frame(train, _paths(audio, train), [labels[rec] for rec in trained], group=_recordings(train))
    classes = tuple(sorted(codes.values()))
    form = _submission(root, home, {rec: clips[rec] for rec in tested}, codes)
    return Competition(root, frame, csvs.test_frame(test, _paths(audio, test), _recordings(test)), classes, form)


def _clips(home: Path) -> dict[str, str]:
    """The name of every recording by its number."""
    source = home / NAMES
    table = csvs.read_table(source, ["rec_id", "filename"])
    csvs.integers(table, "rec_id", source)
    return dict(zip(table["rec_id"], csvs.clip_ids(table, "filename", source), strict=True))


def _codes(source: Path) -> dict[str, str]:
    """The code of every species by its number."""
    table = csvs.read_table(source, ["class_id", "code"])
    csvs.integers(table, "class_id", source)
    return dict(zip(table["class_id"], csvs.labels(table, "code", source), strict=True))


def _parts(source: Path) -> dict[str, str]:
    table = csvs.read_table(source, ["rec_id", "fold"])
    for row, fold in zip(table.index, table["fold"], strict=True):
        if fold not in ("0", "1"):
            raise UserError(f"{source}: row {row}: 'fold' is '{fold}', not 0 (train) or 1 (test); fix the row")
    return dict(zip(table["rec_id"], table["fold"], strict=True))


def _labels(source: Path, codes: dict[str, str], clips: dict[str, str]) -> dict[str, str]:
    """The label cell of every recording by its number: blank where nothing is there, `?` where it is hidden."""
    found: dict[str, str] = {}
    for number, (rec, *species) in csvs.read_lines(source)[1:]:
        if rec not in clips or rec in found:
            raise UserError(f"{source}: row {number}: recording '{rec}' is {'twice' if rec in found else 'not'} known")
        if species == [HIDDEN]:
            found[rec] = HIDDEN
            continue
        wrong = next((one for one in species if one and one not in codes), None)
        if wrong is not None:
            raise UserError(f"{source}: row {number}: '{wrong}' is no class_id of {SPECIES}; fix the row")
        found[rec] = ",".join(dict.fromkeys(codes[one] for one in species if one))
    return found


def _check_parts(home: Path, clips: dict[str, str], part: dict[str, str], labels: dict[str, str]) -> None:
    """Refuse a recording without a part, and a training clip without labels."""
    for rec in clips:
        if rec not in part:
            raise UserError(f"{home / SPLIT}: recording '{rec}' has no row; restore the file")
        if part[rec] == "0" and labels.get(rec, HIDDEN) == HIDDEN:
            raise UserError(f"{home / LABELS}: recording '{rec}' is a training clip without labels; restore the file")


def _paths(folder: str, names: list[str]) -> list[str]:
    return [csvs.clip_path(folder, name, ".wav") for name in names]


def _recordings(names: list[str]) -> list[str]:
    """The recording that each clip was cut from: `PC1_20090606_050012` of `PC1_20090606_050012_0010`."""
    return [name.rpartition("_")[0] for name in names]


def _submission(root: Path, home: Path, tested: dict[str, str], codes: dict[str, str]) -> SubmissionFormat:
    """Rows of the sample submission; without one, every test clip and species. tested: names by number."""
    place = {
        str(int(rec) * 100 + int(one)): (name, code) for rec, name in tested.items() for one, code in codes.items()
    }
    sample = next((path for folder in (root, home.parent, home) if (path := folder / SAMPLE).is_file()), None)
    ids = list(place)
    if sample is not None:
        table: pd.DataFrame = csvs.read_table(sample, ["Id"])
        ids = csvs.clip_ids(table, "Id", sample)
        wrong = next((row for row, one in zip(table.index, ids, strict=True) if one not in place), None)
        if wrong is not None:
            raise UserError(f"{sample}: row {wrong}: '{table['Id'][wrong]}' is no rec_id*100+class_id of a test clip")
    return SubmissionFormat(("Id", "Probability"), tuple(ids), "pairs", pairs=tuple(place[one] for one in ids))
