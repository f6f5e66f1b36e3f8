"""The embedded competition of soundscapes: a small synthesised BirdCLEF in the layout of 2026.

Ten animal voices, one of them without a focal recording. Focal recordings with primary and secondary labels, of which
two fifths are missing; labelled soundscapes, every row twice; others without labels; test soundscapes of other sites.
By night other animals are heard than by day. `solution.csv` has the test windows' labels, `truth.csv` those of the
unlabelled soundscapes: only evaluation reads them.
"""

from pathlib import Path
from typing import Any

from tonestack.base.files import claimed, file_hash, fingerprint, write_csv
from tonestack.base.section import Section
from tonestack.competition.demo import calls, soundscapes, synth
from tonestack.competition.demo.calls import CLASSES, NAMES, NIGHT
from tonestack.competition.demo.soundscapes import WINDOW, Scene
from tonestack.competition.readers import birdclef
from tonestack.competition.readers.demos import demo
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
from pydantic import Field

SILENT = "47158son01"  # the class without a focal recording
LISTED = 0.6  # share of the secondary animals of focal recordings that the csv names
SECONDARY = (0.65, 0.25, 0.1)  # share of the focal recordings with no, one and two secondary animals
ANIMALS = (0.15, 0.2, 0.3, 0.25, 0.1)  # share of the soundscapes with none, one ... four
TRAIN_SITES, POOL_SITES, TEST_SITES = (1, 2, 3, 4), (1, 2, 3, 4, 5, 6), (5, 6, 7, 8)
HOURS = (0, 2, 4, 6, 8, 12, 16, 20, 22)
DAY = range(5, 21)  # hours
PUBLIC = 0.35  # share of the test soundscapes
FOLDERS = ("train_audio", "train_soundscapes", "test_soundscapes")
READER = birdclef.Params(name_pattern=r"_(?P<site>[^_]+)_(?P<date>\d{8})_(?P<hour>\d\d)\d{4}")

Rng = np.random.Generator


class Params(Section):
    """Numbers of recordings, and the seed."""

    n_focal: int = Field(126, ge=2 * len(CLASSES), description="focal recordings synthesised")
    n_labelled: int = Field(20, ge=2, description="labelled soundscapes synthesised")
    n_unlabelled: int = Field(20, ge=0, description="soundscapes without labels synthesised")
    n_test: int = Field(20, ge=1, description="test soundscapes synthesised")
    seconds: int = Field(30, ge=WINDOW, multiple_of=WINDOW, description="length of a soundscape, s")
    seed: int = Field(0, ge=0, description="seed of the synthesis")


def read(params: Params, root: Path) -> Competition:
    """Read the demo below `root`; synthesise it first if it is absent or was made with other settings."""
    make(params, root)
    return birdclef.read(READER, root)


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of test labels: `row_id`, a column of 0 and 1 per class, `usage`."""
    path = root / "solution.csv"
    return path if path.is_file() else None


def make(params: Params, root: Path, jobs: int = -1) -> None:
    """Synthesise the competition into `root` with `jobs` processes, unless it is there already.

    The same settings give the same bytes, whatever `jobs` is. A folder that holds anything else is refused.
    """
    sources = [file_hash(Path(str(module.__file__))) for module in (synth, calls, soundscapes)]
    settings = {**params.model_dump(), "synthesiser": fingerprint(sources)}
    if demo.finished(root) == settings:
        return
    with claimed(root.with_name(f".{root.name}.lock"), f"{root}: another process is synthesising the demo"):
        if demo.finished(root) == settings:  # the other one has made it meanwhile
            return
        clips = plan(params)
        seeds = [(params.seed, i) for i in range(len(clips))]
        rows: Any = zip(clips["path"], clips["scene"], seeds, strict=True)
        heard = dict(demo.build(root, FOLDERS, [joblib.delayed(_write)(root, *row) for row in rows], jobs))
        _write_tables(root, clips.assign(heard=clips["path"].map(heard)))
        demo.finish(root, settings)


def plan(params: Params) -> pd.DataFrame:
    """Every recording: `path, part, scene, label, listed, usage`; part is focal, labelled, unlabelled or test.

    label, listed: a focal recording's primary label, and its secondary ones in the csv. usage: of test soundscapes.
    """
    rng = np.random.default_rng([params.seed, 0, 4])  # three numbers: the recordings' own generators have two
    names = [f"XC{100_000 + n}.flac" for n in rng.choice(900_000, params.n_focal, replace=False)]
    focal = [_focal(rng, label, name) for label, name in zip(_primary(rng, params), names, strict=True)]
    parts = [
        ("labelled", params.n_labelled, "train_soundscapes/DS_Train", TRAIN_SITES),
        ("unlabelled", params.n_unlabelled, "train_soundscapes/DS_Train", POOL_SITES),
        ("test", params.n_test, "test_soundscapes/DS_Test", TEST_SITES),
    ]
    others, number = list[dict[str, Any]](), 0
    for part, count, stem, sites in parts:
        places, first = rng.permutation(np.resize(sites, count)), rng.permutation(np.resize(CLASSES, count))
        for place, label in zip(places, first, strict=True):
            number += 1
            scene, when = _soundscape(rng, int(place), str(label), params.seconds, least=int(part == "labelled"))
            others.append({"path": f"{stem}_{number:04d}_{when}.flac", "part": part, "scene": scene})
    clips = pd.DataFrame([*focal, *others])
    test = clips.index[clips["part"] == "test"]
    public = rng.permutation(len(test)) < round(PUBLIC * len(test))
    clips.loc[test, "usage"] = np.where(public, "Public", "Private")
    return clips.fillna({"label": "", "usage": ""})


def _primary(rng: Rng, params: Params) -> list[str]:
    """Classes of the focal recordings in random order, some up to four times as frequent as others, none absent."""
    names = [name for name in CLASSES if name != SILENT]
    share = np.geomspace(1, 4, len(names))
    drawn = rng.choice(names, params.n_focal - 2 * len(names), p=rng.permutation(share / share.sum()))
    return [str(name) for name in rng.permutation([*names, *names, *drawn])]


def _focal(rng: Rng, label: str, name: str) -> dict[str, Any]:
    """One focal recording; its other animals are up at the same time of the day."""
    alike = [other for other in CLASSES if other != label and (other in NIGHT) == (label in NIGHT)]
    count = int(rng.choice(len(SECONDARY), p=SECONDARY))
    others = tuple(map(str, rng.choice(alike, count, replace=False)))
    listed = [other for other in others if rng.random() < LISTED]
    scene = soundscapes.focal(rng, label, others)
    return {"path": f"train_audio/{label}/{name}", "part": "focal", "scene": scene, "label": label, "listed": listed}


def _soundscape(rng: Rng, site: int, label: str, seconds: float, least: int) -> tuple[Scene, str]:
    """A soundscape of at least `least` animals, the first of them `label`; and its site, date and time as text."""
    night = label in NIGHT if rng.random() < 0.9 else label not in NIGHT
    hour = int(rng.choice([hour for hour in HOURS if (hour not in DAY) == night]))
    alike = [name for name in CLASSES if name != label and (name in NIGHT) == night]
    count = max(int(rng.choice(len(ANIMALS), p=ANIMALS)), least)
    names = (label, *map(str, rng.choice(alike, max(count - 1, 0), replace=False)))[:count]
    day = f"2025{rng.integers(4, 8):02d}{rng.integers(1, 29):02d}"
    return soundscapes.soundscape(rng, names, site, seconds), f"S{site:02d}_{day}_{hour:02d}0000"


def _write(root: Path, path: str, scene: Scene, seed: tuple[int, int]) -> tuple[str, list[list[str]]]:
    """Synthesise one recording; return its path and what is heard in its windows."""
    wave, heard = soundscapes.sound(scene, np.random.default_rng(seed), seed[0])
    demo.write_clip(root / path, wave)
    return path, heard


def _write_tables(root: Path, clips: pd.DataFrame) -> None:
    part = clips["part"]
    write_csv(root / "train.csv", _metadata(clips[part == "focal"]), exact=True)
    taxa = pd.DataFrame({"primary_label": CLASSES, "inat_taxon_id": range(1, len(CLASSES) + 1)})
    names = taxa["primary_label"].map(NAMES)
    write_csv(root / "taxonomy.csv", taxa.assign(scientific_name=names, common_name=names, class_name="Synthesised"))
    labelled = _windows(clips[part == "labelled"])
    rows = labelled[labelled["heard"].map(len) > 0]
    start, end = ([f"00:{s // 60:02d}:{s % 60:02d}" for s in times] for times in (rows["end"] - WINDOW, rows["end"]))
    table = pd.DataFrame({"filename": rows["path"].map(_name), "start": start, "end": end})
    table["primary_label"] = rows["heard"].map(";".join)
    write_csv(root / "train_soundscapes_labels.csv", table.loc[np.repeat(table.index, 2)])
    write_csv(root / "truth.csv", _wide(_windows(clips[part == "unlabelled"])))
    test = _windows(clips[part == "test"])
    write_csv(root / "solution.csv", _wide(test).assign(usage=test["usage"].to_numpy()))
    example = _wide(test).head(3)
    write_csv(root / "sample_submission.csv", example.assign(**dict.fromkeys(CLASSES, round(1 / len(CLASSES), 6))))


def _metadata(focal: pd.DataFrame) -> pd.DataFrame:
    """The csv of focal recordings with the columns of 2026; ratings, places and recordists are made up."""
    rng = np.random.default_rng(len(focal))
    columns = {
        "primary_label": focal["label"], "secondary_labels": focal["listed"].map(str), "type": "['call']",
        "latitude": [f"{v:.4f}" if v > -28 else "" for v in rng.uniform(-30, -10, len(focal))],
        "longitude": [f"{v:.4f}" for v in rng.uniform(-60, -40, len(focal))],
        "scientific_name": focal["label"].map(NAMES), "common_name": focal["label"].map(NAMES),
        "class_name": "Synthesised", "inat_taxon_id": focal["label"].map(CLASSES.index) + 1,
        "author": [f"recordist {n}" for n in rng.integers(1, 16, len(focal))], "license": "CC0",
        "rating": rng.choice([0.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0], len(focal)), "url": "",
        "filename": focal["path"].str.removeprefix("train_audio/"), "collection": "XC",
    }  # fmt: skip
    return pd.DataFrame(columns)


def _windows(clips: pd.DataFrame) -> pd.DataFrame:
    """One row per window: `path, end, heard, usage`."""
    rows = clips[["path", "heard", "usage"]].explode("heard", ignore_index=True)
    return rows.assign(end=(rows.groupby("path").cumcount() + 1) * WINDOW)


def _wide(windows: pd.DataFrame) -> pd.DataFrame:
    """Row ids of windows, and a column of 0 and 1 per class."""
    ids = [f"{Path(path).stem}_{end}" for path, end in zip(windows["path"], windows["end"], strict=True)]
    flags = {name: [int(name in heard) for heard in windows["heard"]] for name in CLASSES}
    return pd.DataFrame({"row_id": ids, **flags})


def _name(path: str) -> str:
    return Path(path).name
