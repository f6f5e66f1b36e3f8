"""The door of every verb: exit status 0, 1, 2 or 130, one clear line, and a help that lists every word."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.base.files import write_text
from tonestack.config.call import Call
from tonestack.settings.words import Words

import pytest

PROJECT = Path(__file__).parents[1]
WORDS = ["data=fsdkaggle2018", "preset=smoke"]


def status(stage: object, arguments: list[str] = WORDS) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        cli.main(stage, "Purpose.", arguments)  # type: ignore[arg-type]
    return end.value.code


def test_a_stage_gets_the_resolved_call_and_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    got: list[Call] = []
    cli.main(got.append, "Purpose.", [*WORDS, "seed=3", "folds.n=4"])
    assert (got[0].seed, got[0].data.folds.n, got[0].name) == (3, 4, "fsdkaggle2018")
    assert capsys.readouterr().err == ""


def test_a_warning_of_ours_is_a_note_without_a_line_of_source(capsys: pytest.CaptureFixture[str]) -> None:
    with cli.surroundings():
        warnings.showwarning("of ours", UserWarning, str(PROJECT / "src/tonestack/labels/folds.py"), 7)
        warnings.showwarning("of a library", UserWarning, "/lib/other.py", 7)
    ours, theirs = capsys.readouterr().err.splitlines()
    assert ours == "note: of ours"
    assert theirs.startswith("/lib/other.py:7: UserWarning: of a library")


def test_a_users_mistake_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def stage(run: Call) -> None:
        raise UserError("row 3:\n  no label")

    assert status(stage) == 2
    assert capsys.readouterr().err == "tonestack: row 3: no label\n"


def test_a_wrong_word_does_not_start_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    started: list[Call] = []
    assert status(started.append, [*WORDS, "flod=0"]) == 2
    assert not started
    assert capsys.readouterr().err.startswith("tonestack: unknown word 'flod='; did you mean 'fold'?")


def test_a_defect_is_not_hidden() -> None:
    def stage(run: Call) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.main(stage, "Purpose.", WORDS)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "x"), "allow more open files (ulimit -n 4096)"),
        (RuntimeError(f"cannot open: {os.strerror(errno.ENFILE)}"), "allow more open files (ulimit -n 4096)"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), "run again when the disk or network folder answers"),
        (MemoryError(), "no memory is left; end other programs"),
    ],
)
def test_a_fault_of_the_machine_is_a_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def stage(run: Call) -> None:
        raise error

    assert status(stage) == 2
    assert line in capsys.readouterr().err


def test_what_is_in_the_way_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    (home / "oof").mkdir(parents=True)
    (home / "oof/fsdkaggle2018").touch()
    for place in (home, home / "oof/fsdkaggle2018"):  # a folder below a file; a home that is a file
        monkeypatch.setenv("TONESTACK_HOME", str(place))
        assert status(lambda call: write_text(call.oof / "x/a.txt", "a")) == 2
        assert "it is in the way of what is made here" in capsys.readouterr().err
    with pytest.raises(IsADirectoryError):  # elsewhere it is a defect
        cli.main(lambda call: (tmp_path / "home").read_text(), "Purpose.", WORDS)


def test_a_stopped_run_says_that_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def stage(run: Call) -> None:
        raise KeyboardInterrupt

    assert status(stage) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_shows_the_purpose_and_every_word(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    started: list[Call] = []
    assert status(started.append, ["nonsense", word]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Purpose.")
    assert all(f"  {name}=" in shown for name in Words.model_fields if name != "overrides")
    assert "  SECTION.KEY=" in shown
    assert not started


def test_folders_are_below_the_home_and_named_by_data_or_name(tmp_path: Path) -> None:
    run = Call.from_arguments(WORDS)
    assert run.oof == tmp_path / "home" / "oof" / "fsdkaggle2018"
    other = run.but(name="mine")
    assert (other.folds, other.cache) == (tmp_path / "home/folds/mine", tmp_path / "home/cache/mine")
    assert other.submissions == tmp_path / "home/submissions/mine"


def test_a_call_with_other_words_keeps_the_rest() -> None:
    run = Call.from_arguments([*WORDS, "seed=2", "training.epochs=7", "model=cnn1d"]).but(fold="0")
    assert (run.words.fold, run.seed, run.experiments()[0].config.training.epochs) == ("0", 2, 7)
    assert run.experiments()[0].model == "cnn1d"


def test_a_scoring_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"scoring=nowhere\.csv: no such file"):
        _ = Call.from_arguments([*WORDS, "scoring=nowhere.csv"]).scoring


# ----------------------------------------------------------------------------------- the scripts themselves, as typed


def call(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT, env=os.environ | environment, timeout=120, check=False
    )


def test_a_scripts_mistake_is_one_line_without_a_traceback() -> None:
    done = call(sys.executable, "src/prepare.py", "data=fsdkaggle2018", "root=/no/such/folder", "preset=smoke")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "/no/such/folder: there is no train.csv" in done.stderr


def test_a_stage_that_is_not_there_is_refused_by_run_sh() -> None:
    ready, lock = PROJECT / ".venv/.ready", PROJECT / "requirements.lock"
    if not ready.is_file() or ready.read_bytes() != lock.read_bytes():
        pytest.skip("run.sh would set up .venv anew")
    done = call("bash", "run.sh", "trian", "data=demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tonestack: no stage is called 'trian'; ./run.sh --help lists them\n"


def test_run_sh_help_lists_every_stage() -> None:
    done = call("bash", "run.sh", "--help")
    assert done.returncode == 0
    stages = {path.stem for path in (PROJECT / "src").glob("*.py")} - {"all"}
    assert {stage for stage in stages if f"  {stage} " not in done.stdout} == set()


def test_every_stage_says_its_purpose_what_it_takes_and_what_it_leaves() -> None:
    for path in (PROJECT / "src").glob("*.py"):
        text = path.read_text()
        assert text.startswith('"""'), path.name
        assert "cli.main(run, __doc__" in text, path.name


def test_a_reader_that_closes_the_pipe_gets_no_traceback() -> None:
    code = (
        "from tonestack import cli\n"
        f"cli.main(lambda run: [print('x' * 100) for _ in range(10_000)], 'Purpose.', {WORDS!r})\n"
    )
    command = f'"{sys.executable}" -c "$CODE" | head -1; exit ${{PIPESTATUS[0]}}'
    environ = os.environ | {"CODE": code, "PYTHONPATH": str(PROJECT / "src")}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 141
    assert done.stdout == "x" * 100 + "\n"
    assert done.stderr == ""


def test_the_benchmarks_are_listed_and_a_wrong_one_is_named() -> None:
    door = [sys.executable, str(PROJECT / "bench" / "run_bench.py")]
    listed = subprocess.run([*door, "--help"], capture_output=True, text=True, check=True).stdout
    for file in (PROJECT / "bench").glob("[!_]*.py"):
        assert file.stem == "run_bench" or f"\n{file.stem} " in listed
    wrong = subprocess.run([*door, "speed"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("tonestack: no benchmark is called 'speed'; there is: blend, ")
