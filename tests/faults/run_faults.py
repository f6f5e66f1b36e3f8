"""Rows 25 to 30: runs that are killed, starved, doubled or fed with other tables."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

from tonestack.networks.layers import Network

import numpy as np
import pandas as pd
import torch
from cases import case
from place import CLASSES, TESTS, Place

KILLER = TESTS / "faults" / "kill_pipeline.py"


@cache
def killed(kills: int, *words: str) -> list[str]:
    """The killer's lines: where it killed, and what two runs at once did."""
    call = [sys.executable, str(KILLER), f"kills={kills}", "together=1", *words]
    found = subprocess.run(call, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout.strip().splitlines()[-2:]


@case(25)
def five_kills(place: Place) -> str:
    """`kill_pipeline.py kills=5`: SIGKILL of the whole process group at random moments and in saves, then restarts."""
    return killed(5)[0]


@case(25, long=True)
def fifty_kills(place: Place) -> str:
    """`kill_pipeline.py kills=50`, cleaning and a pseudo-label round included."""
    return killed(50, "clean.method=agree", "pseudo.rounds=1")[0]


@case(27)
def two_at_once(place: Place) -> str:
    """`kill_pipeline.py together=1`: two whole runs on one home; then two, one of them killed in the middle."""
    return killed(5)[1]


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[bool]:
    """Mount over a folder for a while; False where that is not allowed."""
    done = os.geteuid() == 0 and subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Writing beyond so many bytes fails, as it does when a quota is used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@case(26, trained=True)
def full_disk(place: Place) -> str:
    """Files may not grow beyond 0, 300 or 3,000 bytes while other folds are trained; then a full tmpfs of 2 MB."""
    line = ""
    for size in (0, 300, 3000):
        with no_file_beyond(size):
            line = place.refused("train", "seed=1", naming=("File too large",))
    place.works("train", "seed=1")
    small = place.home.with_name("small")
    small.mkdir()
    with mounted(small, "-t", "tmpfs", "-o", "size=2m", "tmpfs") as done:
        if done:
            shutil.copytree(place.home, small / "home")
            (small / "ballast").write_bytes(b"")
            fill(small / "ballast")
            there = Place(place.root, small / "home")
            line = there.refused("train", "seed=2", naming=("No space left on device",))
            (small / "ballast").unlink()
            there.works("train", "seed=2")
    return f"refused, earlier files intact: “{line}”; with room again it goes on"


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with open(path, "ab", buffering=0) as handle:
        try:
            while True:
                handle.write(bytes(4096))
        except OSError:
            return


@case(26, trained=True)
def read_only_folder(place: Place) -> str:
    """oof/ becomes read-only (a mount, or its mode where that binds); a further seed is to be trained."""
    folder = place.folder("oof")
    with mounted(folder, "--bind", str(folder)) as done:
        if done:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        else:
            folder.chmod(0o500)
        try:
            line = place.refused("train", "seed=1", naming=("vgg_small-s1@r0",))
        finally:
            folder.chmod(0o700) if not done else None
    place.works("train", "seed=1")
    return f"refused: “{line}”"


@case(28, trained=True)
def other_features(place: Place) -> str:
    """A cache of 16 bands; the call asks for 12, then for 16 again; then a recording changes."""
    before = place.clips()
    assert " made" not in place.works("prepare").out
    assert " made" in place.works("prepare", "frontend.n_mels=12").out
    assert " up to date" in place.works("prepare").out
    shutil.copy(place.root / "audio_train/train001.wav", place.root / "audio_train/train000.wav")
    assert " made" in place.works("prepare").out
    assert place.clips().loc["train000.wav", "audio_hash"] == before.loc["train001.wav", "audio_hash"]
    return "each setting has features of its own; those of changed recordings are made again"


@contextmanager
def memory_for(crops: int) -> Iterator[list[int]]:
    """A device whose memory holds so many crops; yields the sizes of the batches that fitted."""
    fitted: list[int] = []
    original = Network.embed  # what training and prediction both go through

    def embed(self: Network, x: torch.Tensor) -> torch.Tensor:
        if len(x) > crops:
            raise torch.OutOfMemoryError("out of memory (made by a test)")
        fitted.append(len(x))
        return original(self, x)

    with mock.patch.object(Network, "embed", embed):
        yield fitted


@case(29)
def out_of_memory(place: Place) -> str:
    """A network that raises torch.OutOfMemoryError for more than 3 crops at once; batches are of 8."""
    with memory_for(3) as fitted:
        found = place.works("train", "fold=0", "inference.batch_size=64")
    assert max(fitted) <= 3
    said = [line for line in found.err.splitlines() if line.startswith("out of memory: ")]
    assert said[:2] == [f"out of memory: batches of 8 now go through in {parts} parts" for parts in (2, 4)]
    assert len(said) > 2, "predictions fitted at once"
    line = said[1]
    once = place.probabilities()
    shutil.rmtree(place.folder("oof"))
    with memory_for(3):
        place.works("train", "fold=0", "inference.batch_size=64")
    assert once.equals(place.probabilities())
    shutil.rmtree(place.folder("oof"))  # else its network would serve the variant
    with memory_for(1):
        place.refused("train", "fold=0", "variant=none", naming=("memory does not hold 2 crops",))
    return f"goes on: “{line}”, the gradients added up to the whole batch's; the same numbers every time"


@case(29)
def no_gpu(place: Place) -> str:
    """device=cuda on a machine without one."""
    if torch.cuda.is_available():
        return "not made: there is a GPU here"
    line = next(line for line in place.works("train", "fold=0", "device=cuda").out.splitlines() if "GPU" in line)
    return f"“{line}”"


@case(29)
def loss_is_nan(place: Place) -> str:
    """A learning rate of 1e30; then one step of it, after which the loss was finite but the network is not."""
    words = ["training.lr=1e30", "training.grad_clip=0", "training.epochs=3"]
    line = place.refused("train", *words, naming=("the loss became", "step"))
    assert not list(place.folder("oof").rglob("*.parquet"))
    place.refused("blend", *words, naming=("the loss became",))
    one = ["training.lr=1e38", "training.batch_size=1000", "training.warmup=0", "training.grad_clip=0", "variant=one"]
    place.refused("train", *one, "training.schedule=constant", "training.ema=0", naming=("is not a number",))
    assert not list(place.folder("oof").rglob("*.parquet"))
    assert not list(place.folder("submissions").rglob("*.csv"))
    return f"refused: “{line}”; no table and no submission of a broken model"


@case(30, trained=True)
def a_missing_fold(place: Place) -> str:
    """The second fold's json is gone, then the parquet has one more byte."""
    receipt = place.folder("oof") / "vgg_small@r0/fold1.json"
    said = receipt.read_text()
    receipt.unlink()
    line = place.refused("blend", naming=("fold 1 is missing", "train fold=1"))
    receipt.write_text(said)
    with open(receipt.with_suffix(".parquet"), "ab") as handle:
        handle.write(b"x")
    place.refused("blend", naming=("fold1.parquet", "not as its json says"))
    return f"refused: “{line}”"


def foreign(place: Place, table: pd.DataFrame, name: str = "theirs") -> None:
    """Put a table of another framework beside ours."""
    (place.folder("oof") / name).mkdir(exist_ok=True)
    table.to_csv(place.folder("oof") / name / "table.csv", index=False)


@case(30, trained=True)
def strange_tables(place: Place) -> str:
    """A table of another framework: rows and columns shuffled; every row the same (ties); then with a NaN."""
    pieces = [pd.read_parquet(p) for p in sorted((place.folder("oof") / "vgg_small@r0").glob("*.parquet"))]
    table = pd.concat([pieces[0], pieces[1][pieces[1]["part"] == "oof"]])
    foreign(place, table)
    shipped = submission(place)
    foreign(place, table.sample(frac=1, random_state=0)[table.columns[::-1]])
    assert submission(place) == shipped
    tied = table.assign(**dict.fromkeys(CLASSES[1:], 0.2)).assign(Bell=np.linspace(0.3, 0.9, len(table)))
    foreign(place, tied)
    rows = pd.read_csv(io(submission(place)))["label"]
    assert (rows == "Bell Drum Hiss").all()  # of equal scores the first class
    foreign(place, table.assign(Bell=np.where(table["clip_id"] == "train005.wav", np.nan, table["Bell"])))
    shutil.rmtree(place.folder("oof") / "blend@mixed")  # of a table that has changed: the next call would remove it
    line = place.refused("blend", "blend.tables=[theirs]", naming=("'train005.wav'", "NaN or infinite"))
    return f"aligned by name, ties to the first class; refused: “{line}”"


def submission(place: Place) -> bytes:
    place.works("blend", "blend.tables=[theirs]", "blend.trials=20")
    return (place.folder("submissions") / "blend.csv").read_bytes()


def io(content: bytes) -> object:
    from io import BytesIO

    return BytesIO(content)


@case(27, trained=True)
def a_killed_search_worker(place: Place) -> str:
    """A search's journal with half a line, and the lock file of a worker that is gone; then the search is called."""
    words = ["trials=2", "jobs=1", "fold=0"]
    place.works("tune", *words[1:], "trials=1")
    journal = next(place.folder("cache").rglob("study.journal"))
    with open(journal, "ab") as handle:
        handle.write(b'{"op_code": 4, "worker_id": "half of a l')
    journal.with_name(".study.journal.lock").write_bytes(b"")
    place.works("tune", *words)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines
    table = pd.read_csv(place.folder("reports") / "tune/vgg_small.csv")
    assert len(table) == 2
    return "the half line is cut off, a lock without a living holder holds nobody: the search goes on at once"
