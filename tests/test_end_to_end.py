"""The whole pipeline as a user types it: recordings and a csv in, a scored submission out; killed or not, the same."""

import contextlib
import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tonestack.config.call import Call
from tonestack.ensemble.leaderboard import COLUMNS

import pandas as pd
import pytest

SRC = Path(__file__).parents[1] / "src"
TABLES = {"blend@r0", "mean@r0", "stack-lightgbm@r0", "stack-logistic@r0", "vgg_small@r0"}


@dataclass(frozen=True)
class Pipeline:
    """`./run.sh all` with some words, in a home of its own."""

    home: Path
    words: list[str]

    def folder(self, kind: str) -> Path:
        """The competition's folder of a kind: oof, folds, submissions or cache."""
        return self.home / kind / "fsdkaggle2018"

    def run(self, *words: str) -> str:
        """Run it in this process; return what it printed."""
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
            patch.setenv("TONESTACK_HOME", str(self.home))
            importlib.import_module("all").run(Call.from_arguments([*self.words, *words]))
        return printed.getvalue()

    def start(self) -> subprocess.Popen[str]:
        """Start the script, as the leader of a process group."""
        return subprocess.Popen(
            [sys.executable, str(SRC / "all.py"), *self.words],
            env=os.environ | {"TONESTACK_HOME": str(self.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def tables(self) -> dict[str, bytes]:
        """Every prediction table and submission, by its place."""
        found = sorted(self.folder("oof").rglob("*.parquet"))
        found += [self.folder("submissions") / f"{name}.csv" for name in ("blend", "stack", "submission")]
        return {str(path.relative_to(self.home)): path.read_bytes() for path in found}

    def states(self) -> list[Path]:
        """What folds that are in the middle of their training go on from."""
        return list(self.folder("oof").rglob("*.state.safetensors"))


@pytest.fixture(scope="module")
def words(tiny_words: list[str]) -> list[str]:
    """Long enough training to be killed in the middle."""
    kept = [word for word in tiny_words if not word.startswith(("jobs=", "training.epochs="))]
    return [*kept, "training.epochs=150", "stack.rounds=20"]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, str]:
    """An uninterrupted run and what it printed."""
    call = Pipeline(tmp_path_factory.mktemp("whole"), words)
    return call, call.run("jobs=1")


def test_the_submission_has_the_samples_format(whole: tuple[Pipeline, str], tiny_root: Path) -> None:
    made = pd.read_csv(whole[0].folder("submissions") / "submission.csv")
    sample = pd.read_csv(tiny_root / "sample_submission.csv")
    assert list(made.columns) == list(sample.columns) == ["fname", "label"]
    assert made["fname"].tolist() == sample["fname"].tolist()
    assert "test023.wav" in set(made["fname"])  # the empty recording has its row
    best = made["label"].str.split(" ")
    assert best.map(lambda labels: len(set(labels))).eq(3).all()
    assert set(best.explode()) <= {"Bell", "Drum", "Hiss", "Whistle"}


def test_the_leaderboard_lists_every_table_with_its_scores(whole: tuple[Pipeline, str]) -> None:
    table = pd.read_csv(whole[0].folder("oof") / "leaderboard.csv")
    assert list(table.columns) == COLUMNS == ["experiment", "cv", "cv_se", "public", "private", "seconds", "params"]
    assert set(table["experiment"]) == TABLES
    assert table[["cv", "cv_se", "public", "private"]].notna().all().all()
    assert table[["cv", "public", "private"]].stack().between(0, 1).all()
    assert table.set_index("experiment").loc["vgg_small@r0", "params"] == 456
    assert table["cv"].is_monotonic_decreasing


def test_every_stage_has_left_its_files(whole: tuple[Pipeline, str]) -> None:
    call, printed = whole
    assert "test clip test023.wav: no samples" in printed
    assert (call.folder("folds") / "r0.csv").is_file()
    for name in ("blend.csv", "stack.csv", "submission.csv", "blend.json", "log.csv"):
        assert (call.folder("submissions") / name).is_file(), name
    assert not list(call.home.rglob("*.tmp"))
    assert not call.states()


def test_a_second_run_trains_nothing_and_changes_nothing(whole: tuple[Pipeline, str]) -> None:
    call = whole[0]
    before = call.tables()
    times = {path: path.stat().st_mtime_ns for path in (call.folder("oof") / "vgg_small@r0").iterdir()}
    printed = call.run()
    assert "train: 2 of 2 folds up to date, 0 to train" in printed
    assert "folds: up to date" in printed
    assert "up to date" in next(line for line in printed.splitlines() if line.startswith("prepare:"))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert call.tables() == before


def test_killed_in_the_middle_of_training_and_run_again_the_tables_are_the_same(
    whole: tuple[Pipeline, str], tmp_path: Path, words: list[str]
) -> None:
    call = Pipeline(tmp_path / "killed", words)
    shutil.copytree(whole[0].folder("cache"), call.folder("cache"))
    for _ in range(10):  # a worker may still end its fold in the tenth of a second before it misses its parent
        kill_in_training(call)
        if call.states():
            break
        shutil.rmtree(call.folder("oof"))
    assert call.states()
    finished = len(list(call.folder("oof").rglob("fold?.json")))
    with call.start() as process:
        printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0, printed
    assert f"train: {finished} of 2 folds up to date, {2 - finished} to train" in printed
    assert not call.states()
    assert call.tables() == whole[0].tables()
    one, two = (pd.read_csv(c.folder("oof") / "leaderboard.csv").drop(columns="seconds") for c in (call, whole[0]))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def stopped_with_states(call: Pipeline, group: int) -> bool:
    """Stop all processes once a fold has finished an epoch; True if none of them has removed its state meanwhile."""
    if not call.states():
        return False
    os.killpg(group, signal.SIGSTOP)
    if call.states():
        return True
    os.killpg(group, signal.SIGCONT)
    return False


def kill_in_training(call: Pipeline) -> None:
    """Kill the call (SIGKILL) once a fold has finished an epoch; its workers must end soon after."""
    deadline = time.monotonic() + 300
    with call.start() as process:
        while not stopped_with_states(call, process.pid):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        os.killpg(process.pid, signal.SIGCONT)
    while process_group_lives(process.pid):
        assert time.monotonic() < deadline, "workers outlive the run that started them"
        time.sleep(0.05)


def process_group_lives(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
