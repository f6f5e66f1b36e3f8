"""The embedded multi-label competition: a small synthesised FSDKaggle2019 with exactly its layout.

Clips of one to three of the demo's twelve sound classes. A curated part, all of its labels right and complete; a noisy
part twice as large, farther away and in more noise, half of whose clips have a wrong, a missing or a superfluous label;
a test set of which a quarter is public. `truth.csv` has the train clips' true labels: only evaluation reads it.
"""

from pathlib import Path
from typing import Any

from tonestack.base.files import file_hash, write_csv
from tonestack.base.section import Section
from tonestack.competition.demo import synth
from tonestack.competition.readers import fsdkaggle2019
from tonestack.competition.readers.demos import demo
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
from pydantic import Field

SEVERAL = (
    0.65,
    0.27,
    0.08,
)  # share of clips with one, two and three labels: 1.4 on average, as in FSDKaggle2019's test
FAULTS = {"wrong": 0.25, "missing": 0.15, "extra": 0.1}  # share of the noisy clips
PUBLIC = 0.25  # share of the test clips
FOLDERS = ("train_curated", "train_noisy", "test")

Rng = np.random.Generator
Labels = tuple[str, ...]


class Params(Section):
    """Numbers of clips, and the seed."""

    n_curated: int = Field(160, ge=2 * len(synth.CLASSES), description="curated training clips synthesised")
    n_noisy: int = Field(320, ge=0, description="noisy training clips synthesised")
    n_test: int = Field(160, ge=len(synth.CLASSES), description="test clips synthesised")
    seed: int = Field(0, ge=0, description="seed of the synthesis")


def read(params: Params, root: Path) -> Competition:
    """Read the demo below `root`; synthesise it first if it is absent or was made with other settings."""
    make(params, root)
    return fsdkaggle2019.read(fsdkaggle2019.Params(), root)


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of test labels (`fname, labels, usage`)."""
    return fsdkaggle2019.scoring_table(fsdkaggle2019.Params(), root)


def make(params: Params, root: Path, jobs: int = -1) -> None:
    """Synthesise the competition into `root` with `jobs` processes, unless it is there already.

    The same settings give the same bytes, whatever `jobs` is. A folder that holds anything else is refused.
    """
    settings = {**params.model_dump(), "synthesiser": file_hash(Path(synth.__file__))}
    if demo.finished(root) == settings:
        return
    clips = plan(params)
    rows: Any = enumerate(clips.itertuples(index=False))
    tasks = [joblib.delayed(_write)(root / c.folder / c.fname, c.truth, (params.seed, i)) for i, c in rows]
    demo.build(root, FOLDERS, tasks, jobs)
    _write_tables(root, clips)
    demo.finish(root, settings)


def plan(params: Params) -> pd.DataFrame:
    """Every clip: `fname, folder, truth, labels, usage`; truth and labels are tuples, usage is empty in train."""
    rng = np.random.default_rng([params.seed, 0, 2])  # three numbers: the clips' own generators have two
    counts = {"train_curated": params.n_curated, "train_noisy": params.n_noisy, "test": params.n_test}
    names = demo.clip_names(rng, sum(counts.values()))
    clips = pd.DataFrame({"fname": names, "folder": np.repeat(list(counts), list(counts.values()))})
    clips["truth"] = [labels for count in counts.values() for labels in _true_labels(rng, count)]
    clips["labels"] = clips["truth"]
    noisy = clips.index[clips["folder"] == "train_noisy"]
    clips.loc[noisy, "labels"] = pd.Series(_mislabel(rng, list(clips.loc[noisy, "truth"])), index=noisy)
    clips["usage"] = ""
    public = round(PUBLIC * params.n_test)
    usage = rng.permutation(["Public"] * public + ["Private"] * (params.n_test - public))
    clips.loc[clips["folder"] == "test", "usage"] = usage
    return clips.sort_values(["folder", "fname"], ignore_index=True)


def _true_labels(rng: Rng, count: int) -> list[Labels]:
    """Labels of each clip, sorted; the classes' first labels come round, so that none is absent."""
    first = rng.permutation(np.resize(synth.CLASSES, count))
    return [_extended(rng, (str(name),), int(rng.choice(len(SEVERAL), p=SEVERAL))) for name in first]


def _extended(rng: Rng, labels: Labels, more: int, never: Labels = ()) -> Labels:
    """Some labels and `more` others, none of them one of `never`."""
    rest = [name for name in synth.CLASSES if name not in labels + never]
    return tuple(sorted([*labels, *map(str, rng.choice(rest, more, replace=False))]))


def _mislabel(rng: Rng, truth: list[Labels]) -> list[Labels]:
    """Labels as found on the web: a share of the clips has each fault. A clip's only label cannot be missing."""
    labels = list(truth)
    order = list(rng.permutation(len(truth)))
    missing = [i for i in order if len(truth[i]) > 1][: round(FAULTS["missing"] * len(truth))]
    rest = [i for i in order if i not in missing]
    wrong, extra = round(FAULTS["wrong"] * len(truth)), round(FAULTS["extra"] * len(truth))
    for i in missing:
        labels[i] = _without_one(rng, truth[i])
    for i in rest[:wrong]:
        labels[i] = _extended(rng, _without_one(rng, truth[i]), 1, never=truth[i])
    for i in rest[wrong : wrong + extra]:
        labels[i] = _extended(rng, truth[i], 1)
    return labels


def _without_one(rng: Rng, labels: Labels) -> Labels:
    gone = int(rng.integers(len(labels)))
    return labels[:gone] + labels[gone + 1 :]


def _write(path: Path, truth: Labels, seed: tuple[int, int]) -> None:
    noisy = path.parent.name == "train_noisy"
    demo.write_clip(path, synth.mixture(np.random.default_rng(seed), truth, noisy))


def _write_tables(root: Path, clips: pd.DataFrame) -> None:
    text: Any = clips.assign(labels=clips["labels"].map(",".join), truth=clips["truth"].map(",".join))
    of = {folder: text[text["folder"] == folder] for folder in FOLDERS}
    for folder in ("train_curated", "train_noisy"):
        write_csv(root / f"{folder}.csv", of[folder][["fname", "labels"]])
    train = pd.concat([of["train_curated"], of["train_noisy"]])
    write_csv(root / "truth.csv", pd.DataFrame({"fname": train["fname"], "labels": train["truth"]}))
    write_csv(root / "test_post_competition.csv", of["test"][["fname", "labels", "usage"]])
    write_csv(root / "sample_submission.csv", of["test"][["fname"]].assign(**dict.fromkeys(synth.CLASSES, 0)))
