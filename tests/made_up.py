"""A competition made up for the pages: a few clips with hostile names, tables and receipts written by hand."""

import json
from pathlib import Path

from tonestack.base.files import write_csv, write_json, write_parquet
from tonestack.cleaning import revision_files
from tonestack.labels import folds, revisions
from tonestack.tables import oof

import numpy as np
import pandas as pd
import soundfile

SCRIPT = "<script>alert(1)</script>"
LABELS = ("=cmd()", SCRIPT, "Bell", "Drum")
NAMES = {0: "=cmd().wav", 1: "<img src=x onerror=alert(1)>.wav", 2: "'quoted' & \"double\".wav", 3: "-2+3.wav"}
TRAIN, TEST, RATE = 32, 6, 8_000
WORDS = ["data=table", "preset=smoke", "device=cpu", "blend.bootstrap=50", "report.map_clips=20", "report.seconds=0.5"]


def root(folder: Path, several: bool = False) -> Path:
    """The competition's csv files and recordings. several: every other clip has two labels."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        (folder / f"audio_{part}").mkdir(parents=True)
    names = [NAMES.get(i, f"clip{i:02d}.wav") for i in range(TRAIN)]
    labels = [LABELS[i % len(LABELS)] for i in range(TRAIN)]
    labels = [f"{a},Drum" if several and i % 2 and a != "Drum" else a for i, a in enumerate(labels)]
    table = pd.DataFrame({"fname": names, "label": labels, "checked": (np.arange(TRAIN) % 3 == 0).astype(int)})
    table.to_csv(folder / "train.csv", index=False)
    tests = [f"test{i}.wav" for i in range(TEST)]
    sample = pd.DataFrame({"fname": tests, "label": "Bell"})
    sample.to_csv(folder / "sample_submission.csv", index=False)
    for part, clips in (("train", names), ("test", tests)):
        for i, name in enumerate(clips):
            t = np.arange(int(RATE * rng.uniform(0.2, 1.2))) / RATE
            wave = 0.4 * np.sin(2 * np.pi * 300 * (1 + i % 4) * t)
            soundfile.write(folder / f"audio_{part}" / name, np.float32(wave), RATE)
    return folder


def words(folder: Path) -> list[str]:
    """The words of a call on it."""
    reader = "reader.verified=checked", "reader.sample_submission=sample_submission.csv"
    return [*WORDS, *reader, f"root={folder}", "name=made_up"]


def table(home: Path, name: str, seed: int, **receipt: object) -> None:
    """A finished experiment of two folds: more right than wrong, with a history."""
    given = folds.read(home / "folds/made_up")
    rng = np.random.default_rng(seed)
    truth = pd.Index(LABELS).get_indexer(pd.Index(given["label"].str.split(",").str[0]))
    for fold in (0, 1):
        rows = np.flatnonzero(given["fold"] == fold)
        p = rng.dirichlet(np.ones(4), len(rows) + TEST) + 0.01
        p[np.arange(len(rows)), truth[rows]] += rng.uniform(0, 0.8, len(rows))
        p /= p.sum(axis=1, keepdims=True)
        ids = given["clip_id"].iloc[rows].tolist() + [f"test{i}.wav" for i in range(TEST)]
        parts = ["oof"] * len(rows) + ["test"] * TEST
        said = {"experiment": name, "metrics": {"map@3": 0.8, "log_loss": 1.0}, "seconds": 2.0, "params": 100}
        said |= {"epochs": 3, "seed": 0, "config": {"note": SCRIPT}, "versions": {"python": "3"}} | receipt
        oof.write_fold(home / "oof/made_up" / name, fold, ids, parts, p, LABELS, said)
        lines = [{"experiment": name, "fold": fold, "epoch": e, "loss": 2.0 / e, "lr": 0.1} for e in (1, 2, 3)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (home / "oof/made_up" / name / f"fold{fold}.jsonl").write_text(text)


def home(folder: Path, competition: Path) -> Path:
    """What the stages would have left: folds, decisions, tables, pseudo-label rounds, pictures, the store's table."""
    train = pd.read_csv(competition / "train.csv", dtype=str)
    given = pd.DataFrame({"clip_id": train["fname"], "label": train["label"], "verified": train["checked"] == "1"})
    fold = np.arange(TRAIN) // len(LABELS) % 2
    folds.write(folder / "folds/made_up", given.assign(group="", fold=fold), {})
    (folder / "folds/made_up/r0.json").unlink()  # given by hand: it is kept as it is
    if given["label"].isin(LABELS).all():
        decisions(folder / "folds/made_up", given)
    table(folder, "vgg@r0", 1)
    table(folder, f"{SCRIPT[:8]}x@r0", 2)
    table(folder, "blend@r0", 3, kind="blend", search="geometric", tables=["vgg@r0"], weights={"vgg@r0": 1.0})
    submissions(folder / "submissions/made_up")
    pictures(folder / "reports/made_up")
    clips(folder / "cache/made_up/logmel-0", given["clip_id"].tolist())
    return folder


def decisions(folder: Path, given: pd.DataFrame) -> None:
    """A cleaning method's decisions: every unverified clip is a little more doubtful than the next."""
    following = dict(zip(LABELS, LABELS[1:] + LABELS[:1], strict=True))
    doubtful = ~given["verified"] & (np.arange(TRAIN) % 2 == 0)
    decided = given.rename(columns={"label": "given_label"}).assign(verified=given["verified"].astype(int))
    decided["proposed_label"] = given["label"].mask(doubtful, given["label"].map(following))
    decided["decision"] = np.where(doubtful, "relabel", "keep")
    decided["agree"] = np.where(given["verified"], 1.0, np.linspace(0.0, 0.6, TRAIN).round(4))
    revision_files.write(folder, "agree", pd.DataFrame(columns=revisions.COLUMNS), decided, {"parent": "r0"})
    revision_files.publish(folder, "agree")


def submissions(folder: Path) -> None:
    """What blend and submit leave."""
    members = {"experiment": ["vgg@r0", "cnn@r0"], "map@3": [0.8, 0.7], "log_loss": [0.9, 1.1]}
    members |= {"weight": [0.6, 0.4], "leave_one_out": [0.7, 0.8], "gain": [0.1, 0.0]}
    members |= {"mean_error_correlation": [0.3, 0.3]}
    write_csv(folder / "diversity.csv", pd.DataFrame(members))
    alike = pd.DataFrame({"experiment": ["vgg@r0", "cnn@r0"], "vgg@r0": [1.0, 0.3], "cnn@r0": [0.3, 1.0]})
    write_csv(folder / "error_correlation.csv", alike)
    write_json(folder / "blend.json", {"search": "geometric", "cv": 0.8, "cv_se": 0.1})
    log = {"when": ["now"], "file": ["submission.csv"], "table": ["blend@r0"], "cv": ["0.8"]}
    write_csv(folder / "log.csv", pd.DataFrame(log))


def pictures(folder: Path) -> None:
    """Tables and pictures that other stages leave in the report's folder."""
    rounds = {"round": [0, 1], "revision": ["agree", "pseudo1"], "lower": [None, 0.35], "upper": [None, 0.99]}
    rounds |= {"epochs": [3, 3], "clips": [16, 20], "pseudo train": [0, 2], "pseudo test": [0, 2]}
    write_csv(folder / "pseudo.csv", pd.DataFrame(rounds | {"train": [0.9, 0.9], "validation": [0.7, 0.8]}))
    loop = {"revision": ["r0", "agree"], "cv": [0.7, 0.75], "se": [0.02, 0.02], "chosen": [False, True]}
    write_csv(folder / "label_loop.csv", pd.DataFrame(loop))
    group = {"group": ["all"], "clips": [32], "verified": [11], "share": [0.34]}
    write_csv(folder / "clean-agree.csv", pd.DataFrame(group))
    for name in ("tsne-agree-all", "autoencoder", "speakers/det-ecapa", "speakers/votes"):
        pixels(folder / f"{name}.png")
    (folder / "speakers/det-ecapa.txt").write_text("EER 8.8 % <b>\n")


def pixels(path: Path) -> None:
    """A small picture."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 30), (200, 120, 40)).save(path)


def clips(folder: Path, train: list[str]) -> None:
    """The feature store's table: one clip is unusable, two are the same recording."""
    names = [*train, *(f"test{i}.wav" for i in range(TEST))]
    found = pd.DataFrame({"clip_id": names, "part": ["train"] * TRAIN + ["test"] * TEST, "offset": 0, "frames": 10})
    found = found.assign(seconds=1.0, status="ok", reason="", audio_hash=[f"{i:032x}" for i in range(len(names))])
    found.loc[found["clip_id"] == "test5.wav", ["status", "reason"]] = ["bad", "no samples"]
    found.loc[6, "audio_hash"] = found.loc[5, "audio_hash"]
    write_parquet(folder / "clips.parquet", found)
