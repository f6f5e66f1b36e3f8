"""Kill the pipeline at random moments and in the middle of saves, restart it, compare the final files.

    python tests/faults/kill_pipeline.py kills=50 [seed=0] [together=1] [any words of the pipeline]

Makes a tiny competition, runs `all` on it once without interruption, then kills it (SIGKILL to the whole process
group) `kills` times: half of them somewhere in a stage, stages in turn, half right before or right after a file is
renamed into its place. Every run that comes to its end must have left the same tables bit for bit as the
uninterrupted one, and no temporary file. together=1: also two runs at once on one home, one of which is killed.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from place import WORDS, make_root  # isort: skip  # puts src/ on the path

import all as whole_pipeline
import blend
import clean_labels
import make_folds
import prepare
import pseudo_label
import score
import stack
import submit
import train
from tonestack import cli

STAGES = {"prepare": prepare, "make_folds": make_folds, "clean_labels": clean_labels, "pseudo_label": pseudo_label}
STAGES |= {"train": train, "blend": blend, "stack": stack, "submit": submit, "score": score}
OPTIONS = ["training.epochs=4", "stack.rounds=10", "blend.trials=40", "clean.method=none"]
PATIENCE = 300  # seconds after which a run counts as one that never ends


@dataclass
class Child:
    """A running pipeline in a process group of its own, and the files that it writes about itself."""

    pid: int
    notes: Path
    log: Path
    status: int | None = None

    def over(self) -> bool:
        """True if it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = None if pid == 0 else os.waitstatus_to_exitcode(status)
        return self.status is not None

    def finish(self) -> int:
        """Wait for its end; one that never ends is an error."""
        deadline = time.monotonic() + PATIENCE
        while not self.over():
            if time.monotonic() > deadline:
                self.kill()
                raise SystemExit(f"a run did not end within {PATIENCE} seconds:\n{self.log.read_text()}")
            time.sleep(0.005)
        return int(self.status or 0)

    def kill(self) -> None:
        """SIGKILL to the whole group; return when all its processes have ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while not self.over():
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            while True:
                os.killpg(self.pid, 0)
                time.sleep(0.005)

    def timeline(self) -> list[tuple[str, float]]:
        """The stages entered so far and when."""
        lines = self.notes.read_text().splitlines() if self.notes.is_file() else []
        return [(name, float(at)) for name, at in (line.split() for line in lines if line.count(" ") == 1)]

    def stage(self) -> str:
        """The stage that it was in last."""
        return (self.timeline() or [("start", 0.0)])[-1][0]


@dataclass
class Pipeline:
    """`all` on one competition with some words."""

    folder: Path
    words: list[str]
    runs: int = 0

    def start(self, home: Path, save: tuple[str, int, bool] | None = None) -> Child:
        """Fork a child that runs it in `home`. save: (stage, n, after): it kills itself at its n-th save there."""
        self.runs += 1
        notes, log = self.folder / f"notes{self.runs}", self.folder / f"log{self.runs}"
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._run(home, notes, log, save)
        return Child(pid, notes, log)

    def _run(self, home: Path, notes: Path, log: Path, save: tuple[str, int, bool] | None) -> None:
        status = 1
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.environ["TONESTACK_HOME"] = str(home)
            self._note_stages(notes)
            if save:
                kill_at_save(notes, *save)
            cli.main(whole_pipeline.run, whole_pipeline.__doc__, self.words)
            status = 0
        except SystemExit as exit:
            status = int(exit.code or 0)
        except BaseException as error:
            print(f"Traceback: {type(error).__name__}: {error}", flush=True)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _note_stages(self, notes: Path) -> None:
        for name, module in STAGES.items():
            module.run = noting(name, module.run, notes)  # type: ignore[attr-defined]

    def tables(self, home: Path) -> dict[str, bytes]:
        """The files of a run, times aside: folds, label revisions, prediction tables, submissions."""
        kinds = {"folds": ("*.csv", "*.json"), "oof": ("*.parquet",), "submissions": ("*.csv",)}
        files = [f for kind, forms in kinds.items() for form in forms for f in (home / kind).rglob(form)]
        return {str(f.relative_to(home)): f.read_bytes() for f in sorted(files) if f.name != "log.csv"}


def noting(name: str, original: Any, notes: Path) -> Any:
    """A verb that notes its start, and the stage around it again at its end."""

    def noted(*rest: Any, **more: Any) -> Any:
        before = notes.read_text().split()[-2] if notes.is_file() else "start"
        _note(notes, name)
        try:
            return original(*rest, **more)
        finally:
            _note(notes, before)

    return noted


def _note(notes: Path, name: str) -> None:
    with open(notes, "a") as handle:
        handle.write(f"{name} {time.monotonic()}\n")


def kill_at_save(notes: Path, stage: str, number: int, after: bool) -> None:
    """Let this process kill its group right before or after its n-th rename in a stage."""
    rename, seen = os.replace, 0

    def replace(*paths: Any) -> None:
        nonlocal seen
        seen += notes.is_file() and notes.read_text().split()[-2] == stage
        if seen == number and not after:
            os.killpg(0, signal.SIGKILL)
        rename(*paths)
        if seen == number:
            os.killpg(0, signal.SIGKILL)

    os.replace = replace


class Killer:
    """Kills a pipeline's runs and checks the files of those that finish."""

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self.pipeline, self.random = pipeline, random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.ended = 0
        started = time.monotonic()
        first = pipeline.start(pipeline.folder / "whole")
        if first.finish():
            raise SystemExit(f"the uninterrupted run failed:\n{first.log.read_text()}")
        self.seconds = time.monotonic() - started
        self.expected = pipeline.tables(pipeline.folder / "whole")
        self.durations = durations(first.timeline(), time.monotonic())
        self.home = pipeline.folder / "killed"

    def kill(self, number: int) -> None:
        """Kill once; runs that end before are checked and followed by a fresh one."""
        stages = [name for name, seconds in self.durations.items() if seconds > 0]
        while True:
            stage = stages[number % len(stages)]
            child = self._kill_in_save(stage) if number % 2 else self._kill_somewhere(stage)
            if child.status == -signal.SIGKILL:
                self.killed[f"{child.stage()}{' (in a save)' if number % 2 else ''}"] += 1
                return
            self.judge(child)
            number += number % 2 and 2  # a stage without a save: the next one

    def _kill_in_save(self, stage: str) -> Child:
        child = self.pipeline.start(self.home, (stage, self.random.randint(1, 6), self.random.random() < 0.5))
        child.finish()
        if child.status == -signal.SIGKILL:
            child.kill()  # waits for the rest of the group
        return child

    def _kill_somewhere(self, stage: str) -> Child:
        child = self.pipeline.start(self.home)
        while stage not in dict(child.timeline()) and not child.over():
            time.sleep(0.005)
        deadline = time.monotonic() + self.random.uniform(0, self.durations[stage])
        while time.monotonic() < deadline and not child.over():
            time.sleep(0.001)
        child.kill()
        return child

    def judge(self, child: Child, home: Path | None = None) -> None:
        """A run that ended must have ended well, with the uninterrupted run's tables and no temporary file."""
        home = home or self.home
        if child.finish():
            raise SystemExit(f"a restarted run failed with status {child.status}:\n{child.log.read_text()}")
        found = self.pipeline.tables(home)
        wrong = [n for n in {**found, **self.expected} if found.get(n) != self.expected.get(n)]
        if wrong:
            raise SystemExit(f"differs from the uninterrupted run: {', '.join(wrong)}; kept in {home}")
        left = [str(f) for f in home.rglob("*") if f.name.endswith((".tmp", ".doing", ".lock"))]
        if left:
            raise SystemExit(f"left behind: {', '.join(left)}")
        self.ended += 1
        shutil.rmtree(home)

    def finish(self) -> None:
        """Finish the run after the last kill."""
        self.judge(self.pipeline.start(self.home))

    def together(self) -> None:
        """Two runs at once on one home; then two, one of which is killed in the middle."""
        for kill in (False, True):
            home = self.pipeline.folder / f"together{kill}"
            one, two = self.pipeline.start(home), self.pipeline.start(home)
            if kill:
                time.sleep(self.random.uniform(0.2, 0.8) * self.seconds)
                one.kill()
            elif one.finish():
                raise SystemExit(f"one of two runs at once failed:\n{one.log.read_text()}")
            self.judge(two, home)


def durations(timeline: list[tuple[str, float]], end: float) -> dict[str, float]:
    """Seconds per stage, each called stage counted by itself."""
    seconds: Counter[str] = Counter()
    for (name, at), (_, until) in zip(timeline, [*timeline[1:], ("", end)], strict=True):
        seconds[name] += until - at  # type: ignore[assignment]
    return {name: value for name, value in seconds.items() if name != "start"}


def main(arguments: list[str]) -> None:
    """Kill, restart, compare; say how often and where."""
    own = {
        key: int(value)
        for key, _, value in (a.partition("=") for a in arguments)
        if key in ("kills", "seed", "together")
    }
    words = [a for a in arguments if a.partition("=")[0] not in ("kills", "seed", "together")]
    for name in ("tonestack.training.fold_job", "tonestack.training.learners.network", "lightgbm", "optuna"):
        importlib.import_module(name)  # once here, not in every child
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    make_root(folder / "root")
    given = {word.partition("=")[0]: word for word in [*WORDS, *OPTIONS, f"root={folder / 'root'}", *words]}
    killer = Killer(Pipeline(folder, list(given.values())), own.get("seed", 0))
    print(f"uninterrupted: {killer.seconds:.1f} s, {len(killer.expected)} files; {folder}", flush=True)
    for number in range(own.get("kills", 5)):
        killer.kill(number)
        print(f"{number + 1} kills, {killer.ended} runs to the end", flush=True)
    killer.finish()
    where = ", ".join(f"{stage} {count}" for stage, count in sorted(killer.killed.items()))
    print(f"{own.get('kills', 5)} kills ({where}): every restarted run ended with the same tables, bit for bit")
    if own.get("together"):
        killer.together()
        print("all that were not killed ended well, with the same tables, bit for bit; nobody waited for ever")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
