"""A demo of FSDKaggle2018's size: its 41 classes with their numbers of clips, verified flags and scored test clips.

9,473 train clips (3,710 verified, all of them right; a third of the others' labels are wrong) and 9,400 test clips, of
which 301 are Public, 1,299 Private and the others padding, three of it without samples. The files lie as the
competition's do; `truth.csv` has the train clips' true labels; only evaluation reads it. About 29 hours of audio, 9 GB.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tonestack.base.files import claimed, file_hash
from tonestack.base.section import Section
from tonestack.competition.demo import many_sounds, synth
from tonestack.competition.demo.many_sounds import CLASSES, KINDS, MUSICAL
from tonestack.competition.readers import fsdkaggle2018
from tonestack.competition.readers.demos import demo
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
from pydantic import Field

PADDING, EMPTY = 7_800, 3  # unscored test clips; those of them without samples


class Params(Section):
    """Size of the demo as a share of the competition's, the longest clip, and the seed."""

    scale: float = Field(1.0, ge=0.02, le=1, description="share of FSDKaggle2018's numbers of clips")
    longest: float = Field(30.0, ge=0.3, le=60, description="longest clip, s; short clips are made and trained faster")
    seed: int = Field(0, ge=0, description="seed of the synthesis")


def read(params: Params, root: Path) -> Competition:
    """Read the demo below `root`; synthesise it first if it is absent or was made with other settings."""
    make(params, root)
    return fsdkaggle2018.read(fsdkaggle2018.Params(classes=tuple(CLASSES)), root)


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of test labels (`fname, label, usage`)."""
    return fsdkaggle2018.scoring_table(fsdkaggle2018.Params(), root)


def make(params: Params, root: Path, jobs: int = -1) -> None:
    """Synthesise the competition into `root` unless it is there; the same settings give the same bytes."""
    code = [file_hash(Path(str(module.__file__))) for module in (synth, many_sounds)]
    settings: dict[str, Any] = {**params.model_dump(), "synthesiser": code}
    if demo.finished(root) == settings:
        return
    with claimed(root.with_name(f".{root.name}.lock"), f"{root}: another process is synthesising the demo"):
        if demo.finished(root) == settings:  # the other one may have made it meanwhile
            return
        clips = plan(params)
        rows: Iterable[tuple[int, Any]] = enumerate(clips.itertuples(index=False))
        tasks = [joblib.delayed(_write)(root / c.folder / c.fname, c.truth, (params.seed, i), params) for i, c in rows]
        demo.build(root, ("audio_train", "audio_test"), tasks, jobs)
        demo.write_tables(root, clips, " ".join(CLASSES[:3]))
        demo.finish(root, settings)


def plan(params: Params) -> pd.DataFrame:
    """Every clip: `fname, folder, truth, label, manually_verified, usage`, in the order of the names."""
    rng = np.random.default_rng([params.seed, 0, 2])
    rows = [*_train(params, rng), *_test(params, rng)]
    clips = pd.DataFrame(rows, columns=["folder", "truth", "label", "manually_verified", "usage"])
    clips.insert(0, "fname", demo.clip_names(rng, len(clips)))
    return clips.sort_values(["folder", "fname"], ascending=[False, True], ignore_index=True)


def _train(params: Params, rng: np.random.Generator) -> Iterable[tuple[str, str, str, bool, str]]:
    """The train clips, class by class as labelled: verified ones are right."""
    for label, kind in KINDS.items():
        verified = _scaled(params, kind.verified)
        for i in range(max(_scaled(params, kind.train), verified)):
            right = i < verified or rng.random() >= demo.WRONG
            yield "audio_train", label if right else _other(rng, label), label, i < verified, ""


def _test(params: Params, rng: np.random.Generator) -> Iterable[tuple[str, str, str, bool, str]]:
    """The test clips: scored ones with the competition's counts, padding of any class, some without samples."""
    for label, kind in KINDS.items():
        for usage, count in (("Public", kind.public), ("Private", kind.private)):
            yield from [("audio_test", label, label, False, usage)] * _scaled(params, count)
    padding = _scaled(params, PADDING)
    truths = [*([""] * min(EMPTY, padding)), *map(str, rng.choice(CLASSES, max(0, padding - EMPTY)))]
    yield from [("audio_test", truth, "None", False, "Ignored") for truth in truths]


def _scaled(params: Params, count: int) -> int:
    return max(1, round(params.scale * count))


def _other(rng: np.random.Generator, label: str) -> str:
    """The true class of a wrongly labelled clip: mostly of the same group, musical or not."""
    within = rng.random() < demo.WITHIN
    return str(rng.choice([x for x in CLASSES if x != label and ((x in MUSICAL) == (label in MUSICAL)) == within]))


def _write(path: Path, truth: str, seed: tuple[int, int], params: Params) -> None:
    """Synthesise one clip; without a class it has no samples."""
    wave = many_sounds.recording(np.random.default_rng(seed), truth, params.longest) if truth else np.zeros(0)
    demo.write_clip(path, wave, many_sounds.RATE)
