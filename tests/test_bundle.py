"""Bundles: they run elsewhere, without network, in time, and always leave a valid submission."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bundle
from conftest import CLASSES, TINY_WORDS
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.deploy import bundle_inference
from tonestack.deploy.bundle_inference import Effort, Worker, efforts, infer, seconds_of
from tonestack.deploy.predictor import Predictor
from tonestack.settings.data_config import DataConfig

import numpy as np
import pandas as pd
import pytest

CLOSED = """
import socket

def closed(*args, **words):
    raise OSError("the network is closed")

socket.socket.connect = socket.getaddrinfo = closed
"""


def call(root: Path, *words: str) -> Call:
    """A call of bundle: no model unless one is named."""
    return Call.from_arguments(["data=fsdkaggle2018", "device=cpu", f"root={root}", *words])


@pytest.fixture(scope="module")
def packed(_trained: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of the submission, moved to where nothing of ours is, and the home it was made from."""
    home = Path(shutil.copytree(_trained, tmp_path_factory.mktemp("bundle") / "home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(home))
        made = bundle.run(call(tiny_root))
    return Path(shutil.move(made, tmp_path_factory.mktemp("elsewhere") / "bundle")), home


def run_script(folder: Path, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run infer.py in an empty folder, without network and without anything of ours on the path."""
    site = where / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(CLOSED)
    command = [sys.executable, str(folder / "infer.py"), *words]
    alone = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        alone = []
    environment = {"PATH": os.environ["PATH"], "HOME": str(where), "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*alone, *command], capture_output=True, text=True, cwd=where, env=environment, timeout=600, check=False
    )


def words(root: Path, output: Path, **more: str) -> dict[str, str]:
    return bundle_inference.WORDS | {"root": str(root), "output": str(output), "device": "cpu"} | more


def test_a_bundle_elsewhere_writes_the_very_submission(
    packed: tuple[Path, Path], tiny_root: Path, tmp_path: Path
) -> None:
    folder, home = packed
    done = run_script(folder, tmp_path, f"root={tiny_root}", "time_limit=10m", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert "test023.wav: no samples" in done.stdout
    assert "24 clips" in done.stdout
    assert "23 by all models, 0 with less effort, 1 by the classes' shares alone" in done.stdout
    made = pd.read_csv(tmp_path / "submission.csv").set_index("fname")
    sent = pd.read_csv(home / "submissions/fsdkaggle2018/submission.csv").set_index("fname")
    assert made.drop("test023.wav").equals(sent.drop("test023.wav"))
    assert list(made.index) == list(sent.index)


def test_a_bundle_holds_what_it_says(packed: tuple[Path, Path]) -> None:
    folder = packed[0]
    assert {p.name for p in folder.iterdir()} == {
        *("LICENSE", "README.md", "bundle.json", "infer.py", "oof", "requirements.txt", "src"),
    }
    required = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    assert {"torch", "numpy", "pandas", "soundfile", "soxr", "scipy", "safetensors", "pydantic"} <= set(required)
    assert not {"pytest", "mkdocs", "ruff", "optuna", "librosa"} & set(required)
    assert not any("+" in version for version in required.values())
    facts = read_json(folder / "bundle.json")
    assert facts["data"]["root"] == "."
    assert sum(facts["prior"]) == pytest.approx(1)
    assert set(facts["order"]) <= {"vgg_small@r0", "clip_forest@r0"}
    assert {p.rsplit("/", 1)[1] for p in facts["checksums"]} >= {"fold0.safetensors", "fold1.safetensors"}
    assert not list(folder.rglob("*.parquet"))
    assert str(Path.home()) not in (folder / "bundle.json").read_text()


def test_no_time_at_all_leaves_the_classes_shares(packed: tuple[Path, Path], tiny_root: Path, tmp_path: Path) -> None:
    state = infer(packed[0], words(tiny_root, tmp_path / "a.csv", time_limit="0s"))
    assert not state.any()
    made = pd.read_csv(tmp_path / "a.csv")
    shares = np.array(read_json(packed[0] / "bundle.json")["prior"])
    best = " ".join(np.array(CLASSES)[np.argsort(-shares, kind="stable")[:3]])
    assert set(made["label"]) == {best}
    assert made["fname"].tolist() == pd.read_csv(tiny_root / "sample_submission.csv")["fname"].tolist()


class Clock:
    """A clock that only work moves: every model's pass takes a second a fold, clip and crop."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def slow(packed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Clock, list[tuple[str, Any]]]]:
    """Experiments that take a second of a made clock for each clip and crop; and who was asked with how many crops."""
    from tonestack.deploy.trained import TrainedExperiment

    clock, asked, whole = Clock(), list[tuple[str, Any]](), TrainedExperiment.probabilities

    def probabilities(self: TrainedExperiment, model: Any, store: Any, crops: int | None = None) -> np.ndarray:
        clock.now += len(store.clips) * (min(crops or 2, 2) if self.learner == "network" else 1)
        asked.append((self.name, crops))
        return whole(self, model, store, crops)

    monkeypatch.setattr(TrainedExperiment, "probabilities", probabilities)
    return clock, asked  # type: ignore[return-value]


def test_effort_falls_with_the_time_and_the_rest_keeps_the_shares(
    packed: tuple[Path, Path], slow: tuple[Clock, list[tuple[str, Any]]], tiny_root: Path, tmp_path: Path
) -> None:
    clock, asked = slow
    state = infer(packed[0], words(tiny_root, tmp_path / "a.csv", time_limit="100s"), clock)
    assert set(state) == {0, 1, 2}  # the empty clip; the last ones; the first ones
    assert clock.now <= 100
    assert {crops for _, crops in asked} > {1}
    form = Call.from_arguments(["data=fsdkaggle2018", f"root={tiny_root}"]).competition().submission
    assert form is not None
    submission.read(tmp_path / "a.csv", form, CLASSES)  # checks it


def test_when_the_clock_runs_out_the_clips_left_keep_the_shares(
    packed: tuple[Path, Path], slow: tuple[Clock, list[tuple[str, Any]]], tiny_root: Path, tmp_path: Path
) -> None:
    state = infer(packed[0], words(tiny_root, tmp_path / "a.csv", time_limit="12s"), slow[0])
    assert state[0] > 0
    assert (state == 0).sum() > 10


def test_a_model_that_fails_is_left_out(
    packed: tuple[Path, Path], tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(packed[0], tmp_path / "broken"))
    (folder / "oof/clip_forest@r0/fold0.safetensors").write_bytes(b"damaged")
    state = infer(folder, words(tiny_root, tmp_path / "a.csv"))
    assert "clip_forest@r0: left out from here on" in capsys.readouterr().out
    assert (state == 1).sum() == 23


def test_a_defect_leaves_a_valid_file_and_status_1(
    packed: tuple[Path, Path], tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_inference, "Predictor", lambda *a: 1 / 0)
    assert bundle_inference.main([f"root={tiny_root}", f"output={tmp_path / 'a.csv'}"], packed[0]) == 1
    assert len(pd.read_csv(tmp_path / "a.csv")) == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give root=DIR"),
        (["roots=x"], "did you mean 'root'?"),
        (["root=/no/such"], "no such folder"),
        (["root=.", "time_limit=soon"], "write 9h, 30m, 45s"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, packed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle_inference.main(arguments, packed[0]) == 2
    assert message in capsys.readouterr().err


def test_other_classes_are_refused(packed: tuple[Path, Path], tiny_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_root, tmp_path / "other"))
    table = pd.read_csv(root / "train.csv")
    table.replace({"label": {"Drum": "Gong"}}).to_csv(root / "train.csv", index=False)
    with pytest.raises(UserError, match="the classes differ from those"):
        infer(packed[0], words(root, tmp_path / "a.csv"))


def test_efforts_go_from_everything_to_one_crop_of_the_best() -> None:
    found = efforts(["a", "b", "c"], 2, 3)
    assert found[0] == Effort(("a", "b", "c"), 2, 3)
    assert found[-1] == Effort(("a",), 1, 1)
    assert [(len(e.experiments), e.folds, e.crops) for e in found] == [
        *((3, 2, 3), (3, 2, 2), (3, 2, 1), (3, 1, 1), (2, 1, 1), (1, 1, 1)),
    ]


def test_a_worker_goes_down_and_up_the_efforts(packed: tuple[Path, Path], tiny_root: Path) -> None:
    facts = read_json(packed[0] / "bundle.json")
    data = DataConfig.parse(facts["data"], "here")
    clock = Clock()
    predictor = Predictor(packed[0] / "oof", facts["table"], data, "cpu")
    worker = Worker(predictor, facts["order"], 100.0, clock)
    most = max(s.settings.inference.crops for s in predictor.trained.values())
    assert worker.choose(1000) == Effort(tuple(worker.order), 2, most)  # nothing measured yet
    worker.calls = 2
    for name in worker.order:
        worker._note(name, 10.0, 10.0)  # a second a fold and crop
    assert worker.choose(10) == Effort(tuple(worker.order), 2, most)
    assert worker.choose(1000) == Effort(tuple(worker.order[:1]), 1, 1)
    clock.now = 200.0
    assert worker.late()


def test_time_limits_are_read() -> None:
    assert [seconds_of(t) for t in ("9h", "30m", "45s", "7", "1.5h")] == [32400, 1800, 45, 7, 5400]


def test_a_competition_without_test_set_has_nothing_to_bundle(
    trained_home: Path, tiny_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(tiny_root, tmp_path / "bare"))
    (root / "sample_submission.csv").unlink()
    (root / "test_post_competition_scoring_clips.csv").unlink()
    reader = ("reader.train_csv=train.csv", "reader.clip=fname", "reader.label=label", "reader.train_audio=audio_train")
    with pytest.raises(UserError, match="no test set"):
        bundle.run(Call.from_arguments(["data=table", f"root={root}", "name=fsdkaggle2018", *reader]))


def test_the_script_is_the_one_in_the_bundle(packed: tuple[Path, Path]) -> None:
    compile(bundle.INFER, "infer.py", "exec")
    assert (packed[0] / "infer.py").read_text() == bundle.INFER
    assert json.loads((packed[0] / "bundle.json").read_text())["table"] in (packed[0] / "README.md").read_text()
    assert TINY_WORDS
