"""Bad days: disks without locks, containers of one name, lost workers, removed caches, monstrous names and numbers."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tonestack import cli
from tonestack.base import files, workers
from tonestack.base.console import refuse
from tonestack.base.errors import UserError, nearest
from tonestack.base.pictures import new_figure
from tonestack.competition import csvs
from tonestack.networks import weights
from tonestack.tables import read

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(UserError, match=r"no file can be locked here .*TONESTACK_HOME"), files.claimed(tmp_path / "a"):
        pass


def test_what_lies_on_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.replace

    def across(source: Path, target: Path) -> None:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "replace", across)
    (tmp_path / "one/folder").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    (tmp_path / "one/a").write_text("x")
    (tmp_path / "one/folder/b").write_text("y")
    files.move(tmp_path / "one/a", tmp_path / "two/a")
    files.move(tmp_path / "one/folder", tmp_path / "two/folder")
    assert (tmp_path / "two/a").read_text() == "x"
    assert (tmp_path / "two/folder/b").read_text() == "y"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "folder", "one", "two"]


def test_two_containers_of_one_name_keep_each_others_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = files._host()
    state = os.stat

    def elsewhere(path: object, *rest: object, **more: object) -> os.stat_result:
        found = state(path, *rest, **more)  # type: ignore[arg-type]
        return os.stat_result([found[0], found[1] + 1, *found[2:]]) if path == "/proc/self/ns/pid" else found

    monkeypatch.setattr(os, "stat", elsewhere)
    there = files._host()
    monkeypatch.undo()
    assert here == files.HOST != there
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f".a.{there}-{gone.pid}.tmp").touch()  # that number may be a living process's in the other container
    (tmp_path / f".b.{here}-{gone.pid}.tmp").touch()
    assert [path.name[:2] for path in files.sweep([tmp_path])] == [".b"]


def test_a_clock_that_was_set_takes_no_file_away(tmp_path: Path) -> None:
    mine, theirs = (tmp_path / f".a.{host}-{os.getpid()}.tmp" for host in (files.HOST, "0" * 6))
    for path in (mine, theirs):
        path.touch()
        os.utime(path, (0, 0))
    assert files.sweep([tmp_path]) == [theirs]  # of a machine that is not here: its date is all that is known


def test_the_watch_of_decoders_kills_its_own_children_alone(tmp_path: Path) -> None:
    mine = subprocess.Popen(["sleep", "60"])
    start = [sys.executable, "-c", "import subprocess as s; p = s.Popen(['sleep', '60']); print(p.pid); p.wait()"]
    parent = subprocess.Popen(start, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    stranger = int(parent.stdout.readline())
    try:
        for pid in (mine.pid, stranger, "x"):
            (tmp_path / f"{pid}.doing").write_text("a.wav")
        with workers.ended_when_stuck(tmp_path, 0.4):
            mine.wait(10)
            time.sleep(0.5)
        assert mine.returncode == -signal.SIGKILL
        os.kill(stranger, 0)
        assert not workers.is_child(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)
        parent.wait()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_worker_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def stage(call: object) -> None:
        joblib.Parallel(2)(joblib.delayed(die)() for _ in range(2))

    with pytest.raises(SystemExit) as ended:
        cli.main(stage, "", ["data=demo"])
    assert ended.value.code == 2
    assert "a worker process was killed" in capsys.readouterr().err


def test_a_cache_removed_in_mid_run_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))

    def stage(call: object) -> None:
        (tmp_path / "cache/demo/logmel-1/features.npy").read_bytes()

    with pytest.raises(SystemExit) as ended:
        cli.main(stage, "", ["data=demo"])
    assert ended.value.code == 2
    assert "features.npy: was removed while this ran" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):  # a file that is not ours is a defect
        cli.main(lambda call: (tmp_path / "other").read_bytes(), "", ["data=demo"])


@pytest.mark.parametrize("label", [r"$\frac{$", "$", "a_b^c$x$", "\\", "{"])
def test_labels_are_no_formulas_in_pictures(label: str, tmp_path: Path) -> None:
    figure = new_figure(2, 2)
    axes = figure.subplots()
    axes.set_title(label)
    axes.plot([1, 2], label=label)
    axes.legend()
    figure.savefig(tmp_path / "a.png", format="png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_messages_stay_short(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"backbone_{i:05d}" for i in range(5000)]
    start = time.monotonic()
    assert nearest("backbone_00007x", words) == "; did you mean 'backbone_00007'?"
    assert nearest("q", words).endswith("and 4,960 more")
    assert len(nearest("x" * 200_000, [*words, "y" * 200_000])) < 5000
    refuse(UserError("column '" + "x" * 300_000 + "'; rename it"))
    said = capsys.readouterr().err
    assert len(said) < 2_100
    assert said.endswith("; rename it\n")
    assert time.monotonic() - start < 10


def test_monstrous_headers_are_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x" * 5_000_000 + ",label\na,b\n")
    with pytest.raises(UserError, match="row 1: field larger than field limit"):
        csvs.read_table(path, ["fname"])
    path.write_text("x" * 200_000 + ",label\na,b\n")
    with pytest.raises(UserError, match=r"there is no column 'fname'; there is: label, x{100}$"):
        csvs.read_table(path, ["fname"])
    path.write_text(",".join(f"c{i}" for i in range(40_000)) + "\n" + ",".join("1" for _ in range(40_000)) + "\n")
    start = time.monotonic()
    with pytest.raises(UserError, match="there is no column 'fname'"):
        csvs.read_table(path, ["fname"])
    assert len(csvs.read_table(path).columns) == 40_000
    frame = pd.DataFrame(np.zeros((1, 20_000)), columns=[f"c{i}" for i in range(20_000)])
    frame.to_csv(path, index=False)
    assert read._read_table(path).shape == (1, 20_000)
    assert time.monotonic() - start < 20


def test_arrays_of_another_machine(tmp_path: Path) -> None:
    np.save(tmp_path / "big.npy", np.arange(6, dtype=">f4").reshape(2, 3))
    array = read._array(tmp_path / "big.npy")
    assert array.dtype == np.float32
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))
    for odd in (np.zeros(2, [("a", "f4")]), np.zeros(2, complex), np.zeros(2, "M8[s]"), np.zeros(2, "V3")):
        np.save(tmp_path / "odd.npy", odd)
        with pytest.raises(UserError, match="numbers or text"):
            read._array(tmp_path / "odd.npy")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64])
def test_weights_of_odd_numbers_are_a_line(tmp_path: Path, kind: torch.dtype) -> None:
    save_file({"a": torch.zeros(3).to(kind)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"'a' holds \w+; save it as float32"):
        weights.read(tmp_path / "w.safetensors")
