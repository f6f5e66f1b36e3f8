"""VoxCeleb1 (Nagrani et al. 2017): `wav/idNNNNN/<video>/NNNNN.wav`, for identification and for verification.

Identification: a clip's label is its speaker. `split: video` sets whole videos aside for test and groups the folds by
video; `utterance` is the ResNet-18 speaker project's 60/20/20 by utterance, whose videos leak; `official` reads
iden_split.txt. Verification: `split: none` and a list of trials in VoxCeleb1's format (`1 enrol.wav test.wav`).
"""

import os
from pathlib import Path
from typing import Literal

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name, read_text
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.labels import trials
from tonestack.tables.competition import Competition, SubmissionFormat

import numpy as np
import pandas as pd
from pydantic import Field

FOLDERS = ("wav", "vox1_dev_wav/wav", "vox1_test_wav/wav")  # as people unpack the parts
OFFICIAL = "iden_split.txt"
SUFFIXES = (".wav", ".flac")
VALIDATION, TEST = 0, -2  # of a split; -1: train


class Params(Section):
    """Reader settings: number of speakers (the first by name), split of the clips, list of trials."""

    n_speakers: int | None = Field(None, ge=2, description="speakers taken, the first by name; left out: all")
    split: Literal["video", "utterance", "official", "none"] = Field(
        "video", description="how clips are split into train and test"
    )
    seed: int = Field(0, ge=0, description="seed of the split")
    test: float = Field(0.2, ge=0, lt=1, description="share of the videos, or utterances, for test")
    validation: float = Field(
        0.2, gt=0, lt=1, description="share of the utterances in fold 0, where split is utterance"
    )
    k: int = Field(5, ge=1, description="speakers a row of the submission")
    trials: str | None = Field(None, description="list of trials below the root, such as veri_test.txt")
    strangers: Literal["auto", "listed", "folds"] = Field(
        "auto", description="listed: the list's speakers are never trained on; folds: they are split over the folds"
    )


def read(params: Params, root: Path) -> Competition:
    """Read the layout below `root` from file names and lists; no audio is opened."""
    clips = _clips(root)
    if params.trials:
        return _verification(params, root, clips)
    clips = _first_speakers(params, clips)
    split = _split(params, root, clips)
    train, test = clips[split != TEST], clips[split == TEST]
    classes = tuple(sorted(set(train["label"])))
    form = SubmissionFormat(("fname", "label"), tuple(test["clip_id"]), "labels", params.k) if len(test) else None
    return Competition(root, _train(train, split[split != TEST]), _test(test), classes, form)


def scoring_table(params: Params, root: Path) -> pd.DataFrame | None:
    """Labels of the test clips or trials from names and lists: `clip_id, label, usage`; None if there are none."""
    if params.trials:
        listed = _listed(params, root)
        known = listed[listed["label"] != ""] if _listed_are_strangers(params, _clips(root), listed) else listed[:0]
    else:
        clips = _first_speakers(params, _clips(root))
        known = clips[_split(params, root, clips) == TEST]
    return known[["clip_id", "label"]].assign(usage="Public") if len(known) else None


def _clips(root: Path) -> pd.DataFrame:
    """Every clip: `clip_id` (`id10001/<video>/00001.wav`), `path`, `label` (speaker), `group` (speaker and video)."""
    rows = []
    for folder in FOLDERS:
        base = root / folder
        for here, _, names in os.walk(base):
            parts = Path(here).relative_to(base).parts
            if len(parts) == 2 and not any(part.startswith(".") for part in parts):
                rows += [(*parts, name, folder) for name in names if name.endswith(SUFFIXES) and name[0] != "."]
    if not rows:
        raise UserError(f"{root}: there is no wav/<speaker>/<video>/<clip>.wav; check root= or see ./run.sh download")
    rows.sort()
    group = [f"{speaker}/{video}" for speaker, video, _, _ in rows]
    ids = [check_clip_name(f"{speaker}/{video}/{name}", str(root)) for speaker, video, name, _ in rows]
    paths = [f"{folder}/{one}" for one, (_, _, _, folder) in zip(ids, rows, strict=True)]
    clips = pd.DataFrame({"clip_id": ids, "path": paths, "label": [row[0] for row in rows], "group": group})
    twice = clips["clip_id"][clips["clip_id"].duplicated()]
    if len(twice):
        raise UserError(f"{root}: '{twice.iloc[0]}' is there in two of {', '.join(FOLDERS)}; keep one")
    return clips


def _first_speakers(params: Params, clips: pd.DataFrame) -> pd.DataFrame:
    speakers = sorted(set(clips["label"]))
    if params.n_speakers and params.n_speakers > len(speakers):
        raise UserError(f"reader.n_speakers={params.n_speakers}: there are {len(speakers)} speakers")
    return clips[clips["label"].isin(speakers[: params.n_speakers])].reset_index(drop=True)


def _split(params: Params, root: Path, clips: pd.DataFrame) -> np.ndarray:
    """Part of each clip (N,): TEST, VALIDATION (fold 0 of a fixed split), or -1."""
    if params.split == "official":
        return _official(root, clips)
    rng = np.random.default_rng(params.seed)
    if params.split == "utterance":
        draw = rng.permutation(len(clips)) / len(clips)
        held = np.where(draw < params.test + params.validation, VALIDATION, -1)
        return np.where(draw < params.test, TEST, held)
    return np.where(_whole_videos(rng, clips, params.test if params.split == "video" else 0.0), TEST, -1)


def _whole_videos(rng: np.random.Generator, clips: pd.DataFrame, share: float) -> np.ndarray:
    """Mask (N,) of about `share` of every speaker's videos; one stays at least."""
    chosen: list[str] = []
    for _, videos in clips.groupby("label")["group"].unique().items():
        count = min(round(share * len(videos)), len(videos) - 1)
        chosen += list(rng.permutation(videos)[:count])
    return clips["group"].isin(chosen).to_numpy()


def _official(root: Path, clips: pd.DataFrame) -> np.ndarray:
    """iden_split.txt: one line `1 id10001/<video>/00001.wav` per clip; 1 train, 2 validation, 3 test."""
    path = root / OFFICIAL
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; split=official needs it, or give reader.split=video")
    part: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        cells = line.split()
        if cells and (len(cells) != 2 or cells[0] not in ("1", "2", "3")):
            raise UserError(f"{path}: line {number}: write '1 id10001/video/00001.wav' (1 train, 2 validation, 3 test)")
        if cells:
            part[cells[1]] = {"1": -1, "2": VALIDATION, "3": TEST}[cells[0]]
    unknown = clips["clip_id"][~clips["clip_id"].isin(part)]
    if len(unknown):
        raise UserError(f"{path}: has no line for '{unknown.iloc[0]}' ({len(unknown)} such clips); remove them")
    return clips["clip_id"].map(part).to_numpy()


def _train(clips: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    ids, paths, labels, group = (clips[name].tolist() for name in ("clip_id", "path", "label", "group"))
    return csvs.train_frame(ids, paths, labels, True, group, fold.tolist())


def _test(clips: pd.DataFrame) -> pd.DataFrame:
    return csvs.test_frame(clips["clip_id"].tolist(), clips["path"].tolist(), clips["group"].tolist())


def _verification(params: Params, root: Path, clips: pd.DataFrame) -> Competition:
    """Train clips: those of all speakers outside the list if its speakers are kept out, otherwise all."""
    listed = _listed(params, root)
    named = set(listed["enrol"]) | set(listed["test"])
    absent = sorted(named - set(clips["clip_id"]))
    if absent:
        raise UserError(f"{root / str(params.trials)}: '{absent[0]}' is not there ({len(absent)} clips are missing)")
    test = clips[:0]
    if _listed_are_strangers(params, clips, listed):
        ours = clips["label"].isin(_speakers(listed))
        test, clips = clips[clips["clip_id"].isin(named)], clips[~ours]
    train = _first_speakers(params, clips)
    form = SubmissionFormat(("trial", "score"), tuple(listed["clip_id"]), "raw")
    classes = tuple(sorted(set(train["label"])))
    none = np.full(len(train), -1)
    return Competition(root, _train(train, none), _test(test), classes, form, {"trials": listed})


def _listed(params: Params, root: Path) -> pd.DataFrame:
    path = root / check_clip_name(str(params.trials), "data: reader.trials")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give reader.trials=null to have trials drawn")
    return trials.read_list(path)


def _speakers(listed: pd.DataFrame) -> set[str]:
    return {name.partition("/")[0] for side in ("enrol", "test") for name in listed[side]}


def _listed_are_strangers(params: Params, clips: pd.DataFrame, listed: pd.DataFrame) -> bool:
    """True if the list's speakers are kept out of training: with `auto`, if there are four others to train on."""
    if params.strangers != "auto":
        return params.strangers == "listed"
    return len(set(clips["label"]) - _speakers(listed)) >= 4
