"""Where a fault happens: a tiny competition, a home folder, and calls as a user types them."""

import contextlib
import importlib
import inspect
import io
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import soundfile

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "src")]

from conftest import CLASSES, TINY_WORDS, sound  # noqa: E402
from tonestack import cli  # noqa: E402
from tonestack.base.section import Section  # noqa: E402

RATE = 16_000
PATIENCE = 900  # seconds after which a call counts as hung
TRAIN, TEST = 24, 8
WORDS = [word for word in TINY_WORDS if not word.startswith("training.epochs=")] + ["training.epochs=1"]


@dataclass(frozen=True)
class Result:
    """How a call ended: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The last line of the error output."""
        return (self.err.strip().splitlines() or [""])[-1]


def own_words(verb: ModuleType) -> type[Section] | None:
    """The class of the words that a verb alone has: the type of its `run`'s second argument."""
    types = [argument.annotation for argument in inspect.signature(verb.run).parameters.values()][1:]
    return next((one for one in types if isinstance(one, type) and issubclass(one, Section)), None)


@dataclass
class Place:
    """A copy of a competition (`root`) that a test may damage, and a home folder."""

    root: Path
    home: Path
    words: list[str] = field(default_factory=lambda: list(WORDS))

    def call(self, verb: str, *words: str) -> Result:
        """Call a verb as its script does, with later words winning; a traceback is status 1, a hang an error."""
        given = {word.partition("=")[0]: word for word in [*self.words, f"root={self.root}", *words]}
        module = importlib.import_module(verb)
        status, out, err = 0, io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(record=True) as warned,
            self._env(),
            time_limit(verb),
        ):
            warnings.simplefilter("always")
            try:
                own = own_words(module)
                cli.main(module.run, module.__doc__, list(given.values()), own)
            except SystemExit as exit:
                status = int(exit.code or 0)
            except Exception as defect:
                status = 1
                print(f"Traceback: {type(defect).__name__}: {defect}", file=sys.stderr)
        said = [f"{w.category.__name__}: {w.message}\n" for w in warned]
        return Result(status, out.getvalue(), "".join(said) + err.getvalue())

    def works(self, verb: str, *words: str) -> Result:
        """Make a call that must succeed."""
        found = self.call(verb, *words)
        assert found.status == 0, found.err
        return found

    def refused(self, verb: str, *words: str, naming: tuple[str, ...] = ()) -> str:
        """A call that must be refused: status 2, one line that names all this, no file half-written. The line."""
        before = self.files()
        found = self.call(verb, *words)
        assert found.status == 2, (found.status, found.err, found.out)
        assert found.line.startswith("tonestack: "), found.err
        assert "Traceback" not in found.err, found.err
        for name in naming:
            assert name in found.line, f"{name!r} is not named: {found.line}"
        assert not list(self.home.rglob("*.tmp")), "a temporary file was left"
        lost = [name for name, content in before.items() if self.files().get(name) != content]
        assert not lost, f"changed by a refused call: {lost}"
        return self.shown(found.line)

    def files(self) -> dict[str, bytes]:
        """The files made so far: folds, tables, submissions."""
        kinds = [self.home / kind for kind in ("folds", "oof", "submissions")]
        made = [f for kind in kinds for f in kind.rglob("*") if f.is_file() and f.suffix != ".jsonl"]
        return {str(f.relative_to(self.home)): f.read_bytes() for f in made}

    def folder(self, kind: str) -> Path:
        """The competition's folder of a kind."""
        return self.home / kind / "fsdkaggle2018"

    def shown(self, text: str) -> str:
        """A message without the folders of this place."""
        for folder, name in ((self.root, "ROOT"), (self.home, "HOME"), (self.root.parent, "…")):
            text = text.replace(str(folder), name)
        return text.removeprefix("tonestack: ")

    def put(self, name: str, content: bytes) -> Path:
        """Write a file of the competition."""
        path = self.root / name
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in one of the competition's csv files."""
        text = (self.root / name).read_text()
        assert old in text
        self.put(name, text.replace(old, new).encode())

    def probabilities(self, fold: int = 0) -> pd.DataFrame:
        """A trained fold's rows by clip, classes as columns; finite, none negative, summing to 1."""
        table = pd.read_parquet(self.folder("oof") / f"vgg_small@r0/fold{fold}.parquet").set_index("clip_id")
        values = table[list(CLASSES)]
        assert np.isfinite(values.to_numpy()).all()
        assert (values >= 0).all(axis=None)
        assert np.allclose(values.sum(axis=1), 1, atol=1e-5)
        return values

    def clips(self) -> pd.DataFrame:
        """The feature store's clips, by name."""
        path = max(self.folder("cache").glob("*/clips.parquet"), key=lambda p: p.stat().st_mtime_ns)
        return pd.read_parquet(path).set_index("clip_id")

    @contextlib.contextmanager
    def _env(self) -> Iterator[None]:
        before = os.environ.get("TONESTACK_HOME")
        os.environ["TONESTACK_HOME"] = str(self.home)
        try:
            yield
        finally:
            os.environ.pop("TONESTACK_HOME")
            os.environ |= {"TONESTACK_HOME": before} if before else {}


@contextlib.contextmanager
def time_limit(what: str) -> Iterator[None]:
    """A call that does not end is a failure, not a test that never ends."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"{what}: still running after {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def make_root(root: Path) -> None:
    """FSDKaggle2018's layout in small: 24 training clips of 4 classes, 8 test clips, a scoring csv."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in (("train", TRAIN), ("test", TEST)):
        (root / f"audio_{part}").mkdir(parents=True)
        for i in range(count):
            name, label = f"{part}{i:03d}.wav", CLASSES[i % 4]
            soundfile.write(root / f"audio_{part}" / name, sound(label, rng.uniform(0.2, 0.8), rng), RATE)
            rows[part].append({"fname": name, "label": label, "manually_verified": int(i % 8 < 5)})
    pd.DataFrame(rows["train"]).to_csv(root / "train.csv", index=False)
    test = pd.DataFrame(rows["test"]).drop(columns="manually_verified")
    test.assign(label="Drum Bell Hiss").to_csv(root / "sample_submission.csv", index=False)
    usage = np.where(np.arange(TEST) % 2 == 0, "Public", "Private")
    test.assign(usage=usage).to_csv(root / "test_post_competition_scoring_clips.csv", index=False)


class Places:
    """Makes places: copies of one competition and of a home where its features, folds and model are made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.first = Place(folder / "root", folder / "home")
        make_root(self.first.root)
        self.first.works("train")

    def new(self, trained: bool = False) -> Place:
        """A place of its own; `trained`: with the model's tables in it."""
        self.count += 1
        here = self.folder / str(self.count)
        for kind in ("cache", "folds", *(["oof"] if trained else [])):
            shutil.copytree(self.first.home / kind, here / "home" / kind)
        return Place(shutil.copytree(self.first.root, here / "root"), here / "home")
