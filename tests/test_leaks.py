"""No label reaches what must not see it; what trains on labels that mean nothing scores like chance.

Elsewhere: shuffled labels and other labels of the held-out fold (test_jobs.py, test_label_loop.py), the same audio in
two folds (faults/csv_faults.py), nested choices (test_ensemble.py).
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import blend
import clean_labels
import make_folds
import prepare
import score
import stack
import submit
import train
from tonestack.base.errors import UserError
from tonestack.config.call import Call

import pytest

TinyRun = Callable[..., Call]
SCORING = "test_post_competition_scoring_clips.csv"
opened: list[str] = []
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """Note every file that is opened; an audit hook can never be taken off, so it has a switch."""
    if watching and event == "open" and isinstance(arguments[0], str | bytes):
        opened.append(arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0])


sys.addaudithook(watch)


@pytest.fixture
def files() -> Iterator[list[str]]:
    """The names of the files that are opened from here on."""
    global watching
    opened.clear()
    watching = True
    yield opened
    watching = False


def test_test_labels_are_first_opened_by_score(
    tiny_run: TinyRun, tiny_root: Path, files: list[str], tmp_path: Path
) -> None:
    """First the stages are watched; then the test labels become bytes that nobody can read, and only `score` minds."""
    words = ["clean.method=agree", "clean.judge=[vgg_small]", "clean.pictures=false"]
    run = tiny_run(*words, "stack.rounds=5", "training.epochs=1")
    before = [prepare, make_folds, clean_labels, train, blend, stack, submit]
    for verb in before:
        verb.run(run)
    assert any(name.endswith("train.csv") for name in files)
    assert not [name for name in files if name.endswith(SCORING)]
    score.run(run)
    assert [name for name in files if name.endswith(SCORING)]


def test_with_unreadable_test_labels_every_stage_but_score_works(
    tiny_run: TinyRun, tiny_root: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(tiny_root, tmp_path / "root")
    (root / SCORING).write_bytes(b"\xff\xfe\xff")
    run = tiny_run(f"root={root}", "stack.rounds=5", "training.epochs=1")
    for verb in (make_folds, blend, stack, submit):
        verb.run(run)
    with pytest.raises(UserError, match="not UTF-8"):
        score.run(run)
