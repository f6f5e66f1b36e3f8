"""The embedded demo competition: a small synthesised FSDKaggle2018 with exactly its layout.

Twelve sound classes, 40 % of the train labels verified and right, a third of the others wrong, a test set of
which about 19 % is public, padding clips that are not scored, one of them without any samples. `truth.csv` has the
train clips' true labels; only evaluation reads it.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import claimed, file_hash, read_json, temporary_name, write_csv, write_json
from tonestack.base.section import Section
from tonestack.competition.demo import synth
from tonestack.competition.readers import fsdkaggle2018
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
import soundfile
from pydantic import Field

SETTINGS = "demo.json"
VERIFIED = 0.4  # share of the train clips
WRONG = 1 / 3  # share of the others' labels
WITHIN = 0.85  # share of the wrong labels that stay within music or within non-music
PUBLIC = 0.19  # share of the scored test clips


class Params(Section):
    """Sizes of the demo: train clips, scored test clips, unscored ones (the first has no samples), the seed."""

    n_train: int = Field(480, ge=len(synth.CLASSES), description="training clips synthesised")
    n_test: int = Field(150, ge=len(synth.CLASSES), description="scored test clips synthesised")
    n_padding: int = Field(12, ge=0, description="unscored test clips; the first has no samples")
    seed: int = Field(0, ge=0, description="seed of the synthesis")


def read(params: Params, root: Path) -> Competition:
    """Read the demo below `root`; synthesise it first if it is absent or was made with other settings."""
    make(params, root)
    # Given, not gathered: in a very small demo wrong labels may leave a class without any train clip.
    return fsdkaggle2018.read(fsdkaggle2018.Params(classes=tuple(synth.CLASSES)), root)


def scoring_table(params: Params, root: Path) -> Path | None:
    """Return the csv of test labels (`fname, label, usage`)."""
    return fsdkaggle2018.scoring_table(fsdkaggle2018.Params(), root)


def make(params: Params, root: Path, jobs: int = -1) -> None:
    """Synthesise the competition into `root` with `jobs` processes, unless it is there already.

    The same settings give the same bytes, whatever `jobs` is. A folder that holds anything else is refused.
    """
    settings = {**params.model_dump(), "synthesiser": file_hash(Path(synth.__file__))}
    if finished(root) == settings:
        return
    with claimed(root.with_name(f".{root.name}.lock"), f"{root}: another process is synthesising the demo"):
        if finished(root) != settings:  # the other one may have made it meanwhile
            _make(params, root, jobs, settings)


def _make(params: Params, root: Path, jobs: int, settings: dict[str, Any]) -> None:
    clips = plan(params)
    tasks = (joblib.delayed(_write)(root / c.folder / c.fname, c.truth, (params.seed, i)) for i, c in _rows(clips))
    build(root, ("audio_train", "audio_test"), list(tasks), jobs)
    write_tables(root, clips, " ".join(synth.CLASSES[:3]))
    finish(root, settings)


def build(root: Path, folders: Iterable[str], tasks: list[Any], jobs: int) -> list[Any]:
    """Clear an older demo's `folders` below `root`, then run the delayed `tasks`, each of which writes one clip.

    Returns what the tasks return, in no order.
    """
    clear(root, folders)
    write_json(root / SETTINGS, {"finished": False})
    with bar(len(tasks), "demo", "clips") as progress:
        returned = list[Any]()
        for one in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks):
            returned.append(one)
            progress.update()
    return returned


def finish(root: Path, settings: dict[str, Any]) -> None:
    """Mark the demo as finished: its csv files have been written."""
    write_json(root / SETTINGS, {"finished": True, **settings})


def plan(params: Params) -> pd.DataFrame:
    """Every clip of the competition: `fname, folder, truth, label, manually_verified, usage` (usage empty in train).

    `truth` is the synthesised class ("" for the file without samples); `label` is the label in the csv.
    """
    # The clips' own generators are seeded (seed, index): three numbers cannot meet two.
    rng = np.random.default_rng([params.seed, 0, 1])
    counts = params.n_train, params.n_test, params.n_padding
    names = clip_names(rng, sum(counts))
    train = pd.DataFrame({"fname": names[: counts[0]], "folder": "audio_train", "truth": _labels(rng, counts[0])})
    train["label"], train["manually_verified"] = _mislabel(rng, train["truth"])
    train["usage"] = ""
    truth = [*_labels(rng, counts[1]), *([""] * min(counts[2], 1)), *_labels(rng, max(counts[2] - 1, 0))]
    test = pd.DataFrame({"fname": names[counts[0] :], "folder": "audio_test", "truth": truth})
    test["usage"] = _usage(rng, counts[1], counts[2])
    test["label"] = test["truth"].where(test["usage"] != "Ignored", "None")
    test["manually_verified"] = False
    clips = pd.concat([train, test], ignore_index=True)
    return clips.sort_values(["folder", "fname"], ascending=[False, True], ignore_index=True)


def clip_names(rng: np.random.Generator, count: int) -> list[str]:
    """Random file names of eight hex digits, all different: neither order nor name tells a class."""
    return [f"{number:08x}.wav" for number in rng.choice(2**32, count, replace=False)]


def _labels(rng: np.random.Generator, count: int) -> list[str]:
    """Class names in random order, some classes up to twice as frequent as others, none absent."""
    share = np.linspace(1, 2, len(synth.CLASSES))
    drawn = rng.choice(synth.CLASSES, max(count - len(synth.CLASSES), 0), p=rng.permutation(share / share.sum()))
    return [str(name) for name in rng.permutation([*synth.CLASSES, *drawn])[:count]]


def _mislabel(rng: np.random.Generator, truth: pd.Series) -> tuple[list[str], list[bool]]:
    """Noisy labels, and a mask of the verified ones: 40 %, all of them right."""
    order = rng.permutation(len(truth))
    verified = round(VERIFIED * len(truth))
    wrong = order[verified : verified + round(WRONG * (len(truth) - verified))]
    labels = list(truth)
    for n, i in enumerate(wrong):
        labels[i] = _other(rng, truth[i], within=n < round(WITHIN * len(wrong)))
    return labels, [bool(x) for x in np.isin(np.arange(len(truth)), order[:verified])]


def _other(rng: np.random.Generator, label: str, within: bool) -> str:
    """A wrong label, of the same group (musical or not) or of the other one."""
    choices = [x for names in synth.GROUPS.values() if (label in names) == within for x in names if x != label]
    return str(rng.choice(choices))


def _usage(rng: np.random.Generator, scored: int, padding: int) -> list[str]:
    public = round(PUBLIC * scored)
    usage = rng.permutation(["Public"] * public + ["Private"] * (scored - public))
    return [*map(str, usage), *["Ignored"] * padding]


def _rows(clips: pd.DataFrame) -> Iterable[tuple[int, Any]]:
    return enumerate(clips.itertuples(index=False))


def _write(path: Path, truth: str, seed: tuple[int, int]) -> None:
    """Synthesise one clip into a 16-bit wav; without a class it has no samples."""
    wave = synth.recording(np.random.default_rng(seed), truth) if truth else np.zeros(0)
    write_clip(path, wave)


def write_clip(path: Path, wave: np.ndarray, rate: int = synth.RATE) -> None:
    """Write samples (n,) in -1..1 with 16 bits as wav or flac, by the path's suffix, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed, so that a run beside this one never reads half a file; not flushed: the settings come last.
    temporary = temporary_name(path)
    soundfile.write(temporary, wave, rate, subtype="PCM_16", format=path.suffix[1:])
    os.replace(temporary, path)


def write_tables(root: Path, clips: pd.DataFrame, guess: str) -> None:
    """Write the competition's csv files, and `truth.csv` with the right labels.

    clips: `fname, folder, label, truth, manually_verified, usage`. guess: the labels of every row of the sample.
    """
    train, test = clips[clips["folder"] == "audio_train"], clips[clips["folder"] == "audio_test"]
    flags = train["manually_verified"].astype(int)
    write_csv(root / "train.csv", train[["fname", "label"]].assign(manually_verified=flags))
    write_csv(root / "truth.csv", pd.DataFrame({"fname": train["fname"], "label": train["truth"]}))
    write_csv(root / "test_post_competition.csv", test[["fname", "label", "usage"]])
    write_csv(root / "sample_submission.csv", test[["fname"]].assign(label=guess))


def finished(root: Path) -> dict[str, Any] | None:
    """Settings of the demo below `root`, None if there is none or it was cut short."""
    path = root / SETTINGS
    settings = read_json(path) if path.is_file() else {}
    return settings if settings.pop("finished", False) else None


def clear(root: Path, folders: Iterable[str]) -> None:
    """Remove the `folders` of a demo made earlier; refuse a root that is not a demo's."""
    if not root.exists():
        return
    if not root.is_dir() or (any(root.iterdir()) and not (root / SETTINGS).is_file()):
        raise UserError(f"{root}: holds something other than the demo competition; give another root= or remove it")
    for name in folders:
        shutil.rmtree(root / name, ignore_errors=True)
