"""TensorFlow Speech Recognition Challenge (Kaggle 2017/18) and Speech Commands 1 and 2: one folder a word.

`train/audio/<word>/<speaker>_nohash_<n>.wav`, `test/audio/`, `sample_submission.csv` (Kaggle), or `<word>/…` in the
root itself. A speaker's clips are a group. Recordings of `_background_noise_/`, minutes long, are cut into pieces of
class `silence`; words that are no class of their own are `unknown`. Without `test/` and a sample submission the clips
of `testing_list.txt` are the test set, whose words only `score` uses.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs, windows
from tonestack.competition.readers.folder import clip_id, recordings
from tonestack.tables.competition import Competition, SubmissionFormat

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field

NOISE, SILENCE, UNKNOWN = "_background_noise_", "silence", "unknown"
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SPEAKER = re.compile(r"(.+)_nohash_\d+\..+")


def _words(given: Any) -> Any:
    """The words named: `ten`, `all` (none: whatever is there) or a list."""
    if isinstance(given, list | tuple) and any(isinstance(word, bool) for word in given):
        raise ValueError('write words in quotes, as YAML takes yes, no, on and off for truth values: ["yes", "no"]')
    return {"ten": WORDS, "all": ()}.get(given, given) if isinstance(given, str) else given


class Params(Section):
    """Reader settings: classes, how noise is cut, how clips are split."""

    words: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        WORDS, description="words that are classes: ten (those of the challenge), all, or a list of words in quotes"
    )
    unknown: bool = Field(True, description="other words are the class `unknown`; false: left out")
    silence: float = Field(1.0, ge=0, description="length of the pieces of background noise, s; 0: no class `silence`")
    silence_step: float = Field(0.5, gt=0, description="time from the start of one piece to the next, s")
    split: Literal["speakers", "lists"] = Field(
        "speakers",
        description="speakers: folds that keep speakers whole; lists: the clips of validation_list.txt and the first "
        "noise by name are the one fold that validates",
    )


def read(params: Params, root: Path) -> Competition:
    """List the recordings below `root`; of the noises the lengths are read, no other file is opened."""
    home = _home(root)
    table = _clips(params, root, home)
    listed = _listed(home, "testing_list.txt")
    tested = table["clip_id"].isin(listed) if _tests_by_list(root) else np.zeros(len(table), dtype=bool)
    noise = _noise(params, root, home)
    train = pd.concat([table[~tested], noise], ignore_index=True)
    if params.split == "lists":
        held = set(_listed(home, "validation_list.txt")) | set(
            noise.loc[noise["path"] == noise["path"].min(), "clip_id"]
        )
        train["fold"] = np.where(train["clip_id"].isin(held), 0, -1)
    classes = tuple(sorted(set(train["label"])))
    test = table.loc[tested, ["clip_id", "path", "group"]] if _tests_by_list(root) else _test(root)
    csvs.check_apart(train["clip_id"], test["clip_id"], root)
    form = SubmissionFormat(("fname", "label"), tuple(test["clip_id"]), "label", 1) if len(test) else None
    return Competition(root, train, test.reset_index(drop=True), classes, form)


def scoring_table(params: Params, root: Path) -> pd.DataFrame | None:
    """Words of the clips of `testing_list.txt` (`clip_id, label, usage`) where these are the test set."""
    if not _tests_by_list(root):
        return None
    home = _home(root)
    table = _clips(params, root, home)
    found = table[table["clip_id"].isin(_listed(home, "testing_list.txt"))]
    return found[["clip_id", "label"]].assign(usage="Public").reset_index(drop=True) if len(found) else None


def _home(root: Path) -> Path:
    """The folder of the words' folders."""
    home = root / "train" / "audio"
    packed = next((root / name for name in ("train.7z", "train.zip") if (root / name).is_file()), None)
    if not home.is_dir() and packed is not None:
        raise UserError(f"{packed}: is still packed; unpack it into {root} (7z x {packed.name})")
    return home if home.is_dir() else root


def _tests_by_list(root: Path) -> bool:
    """True if there are no test clips of their own."""
    return not ((root / "test").is_dir() or (root / "sample_submission.csv").is_file())


def _clips(params: Params, root: Path, home: Path) -> pd.DataFrame:
    """The words' clips as a train frame; a clip is called `<word>/<file>`."""
    folders = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    folders = [path for path in folders if path.name not in (NOISE, "train", "test") and path.name[0] not in "._"]
    missing = sorted(set(params.words) - {path.name for path in folders})
    if missing:
        raise UserError(f"{home}: there is no folder of the word '{missing[0]}'; check root= or reader.words")
    found = [path for folder in folders for path in recordings(root, folder)]
    labels = [_label(params, path.relative_to(home).parts[0]) for path in found]
    kept = [(path, label) for path, label in zip(found, labels, strict=True) if label]
    ids = [path.relative_to(home).as_posix() for path, _ in kept]
    speakers = [match[1] if (match := SPEAKER.fullmatch(path.name)) else "" for path, _ in kept]
    paths = [clip_id(path, root) for path, _ in kept]
    return csvs.train_frame(ids, paths, [label for _, label in kept], group=speakers).assign(start=np.nan, end=np.nan)


def _label(params: Params, word: str) -> str:
    """The class of a word; empty where the word is left out."""
    if not params.words or word in params.words:
        return word
    return UNKNOWN if params.unknown else ""


def _noise(params: Params, root: Path, home: Path) -> pd.DataFrame:
    """The pieces of background noise as a train frame: clips `_background_noise_/<name>_<end second>`."""
    folder = (home / NOISE).relative_to(root).as_posix()
    paths = windows.files_in(root, folder) if params.silence else []
    if not paths:
        return csvs.train_frame([], [], []).assign(start=np.nan, end=np.nan)
    whole = windows.of_files(root, paths, params.silence)
    last = whole.groupby("path")["end"].transform("max")
    moves = np.arange(0, params.silence - 1e-9, params.silence_step)
    moved = [whole.assign(start=whole["start"] + move, end=whole["end"] + move) for move in moves]
    pieces = pd.concat([table[table["end"] <= last] for table in moved]).sort_values(["path", "start"])
    ends = zip(pieces["stem"], pieces["end"], strict=True)
    ids = [f"{NOISE}/{stem}_{windows.number(end)}" for stem, end in ends]
    frame = csvs.train_frame(ids, list(pieces["path"]), [SILENCE] * len(ids), group=list(pieces["path"]))
    return frame.assign(start=pieces["start"].to_numpy(), end=pieces["end"].to_numpy())


def _listed(home: Path, name: str) -> list[str]:
    """The clips of a list, which lies beside the words or one folder above; none where there is no such list."""
    source = next((folder / name for folder in (home, home.parent) if (folder / name).is_file()), None)
    if source is None:
        return []
    return list(csvs.read_rows(source, ["clip"])["clip"])


def _test(root: Path) -> pd.DataFrame:
    """The test clips: the sample submission's rows, else the files of `test/`."""
    folder = "test/audio" if (root / "test" / "audio").is_dir() else "test"
    sample = csvs.first_file(root, ["sample_submission.csv"])
    if sample is None:
        found = recordings(root, root / folder)
        return csvs.test_frame([path.name for path in found], [clip_id(path, root) for path in found])
    ids = csvs.clip_ids(csvs.read_table(sample, ["fname"]), "fname", sample)
    return csvs.test_frame(ids, [csvs.clip_path(folder, name) for name in ids])
