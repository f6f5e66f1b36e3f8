"""Engines: jobs lost with their process or node are run again, and every engine leaves the same tables bit for bit."""

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tonestack import cli
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.config.call import Call
from tonestack.training import fold_job, queue
from tonestack.training.engines import local
from tonestack.training.job import RETRIES, FoldJob

import joblib
import joblib.executor
import pytest
import torch
from joblib.externals.loky import reusable_executor

TinyRun = Callable[..., Call]
HAS_RAY = importlib.util.find_spec("ray") is not None
LONG = "training.epochs=80"  # so many that a job can be ended in the middle


def work(run: Call) -> list[FoldJob]:
    """Train what is not up to date; return the jobs."""
    made = queue.build(run, run.experiments())
    queue.run_all(run, queue.pending(run, run.experiments()))
    return made


def same_files(one: list[FoldJob], two: list[FoldJob]) -> bool:
    """Whether tables and weights are equal byte for byte."""
    names = [(a.folder / f"fold{a.fold}.x", b.folder / f"fold{b.fold}.x") for a, b in zip(one, two, strict=True)]
    both = [(a.with_suffix(s).read_bytes(), b.with_suffix(s).read_bytes()) for a, b in names for s in SUFFIXES]
    return all(a == b for a, b in both)


SUFFIXES = (".parquet", ".safetensors")


def trained_alone(call: Call) -> list[FoldJob]:
    """Jobs done by the local engine, without their receipts: with them their networks would serve another variant."""
    made = work(call)
    for job in made:
        (job.folder / f"fold{job.fold}.json").unlink()
    return made


def when_begun(folder: Path, folds: int, then: Callable[[], object]) -> threading.Thread:
    """Call `then` once so many folds have an epoch behind them."""

    def watch() -> None:
        while sum(path.stat().st_size > 0 for path in folder.glob("fold*.jsonl")) < folds:
            time.sleep(0.01)
        then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_an_engine_that_is_not_there_is_refused_at_the_door() -> None:
    with pytest.raises(UserError, match="no engine is called 'rya'; did you mean 'ray'"):
        cli.resolve(["engine=rya"])


# ----------------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("gpus", "words", "places"),
    [
        (0, ["device=auto", "jobs=2"], ["auto", "auto"]),
        (2, ["device=cpu", "jobs=1"], ["cpu"]),
        (1, ["device=auto"], ["cuda:0"]),
        (2, ["device=cuda"], ["cuda:0", "cuda:1"]),
        (2, ["device=cuda", "gpu=0.5"], ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        (2, ["device=cuda:1", "gpu=0.3"], ["cuda:1"] * 3),
        (2, ["device=cuda", "gpu=0.5", "jobs=3"], ["cuda:0", "cuda:1", "cuda:0"]),
    ],
)
def test_places_for_jobs(monkeypatch: pytest.MonkeyPatch, gpus: int, words: list[str], places: list[str]) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert local.slots(Call.from_arguments(words)) == places


def test_a_free_place_takes_the_next_job(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_work", lambda job, caller: {"device": job.device})
    monkeypatch.setattr(local, "get_memmapping_executor", lambda *a, **k: Inline())
    todo = queue.build(tiny_run(), tiny_run().experiments()) * 3
    used = [receipt["device"] for receipt in local._side_by_side(todo, ["cuda:0", "cuda:1"])]
    assert sorted(used) == ["cuda:0"] * 3 + ["cuda:1"] * 3


class Inline:
    """An executor that runs what it is given at once."""

    def submit(self, call: Callable[..., Any], *args: Any) -> Any:
        from concurrent.futures import Future

        future: Future[Any] = Future()
        future.set_result(call(*args))
        return future

    def shutdown(self, **options: Any) -> None: ...


# ------------------------------------------------------------------------------------------------------------- local


def test_a_lost_process_costs_no_run(tiny_run: TinyRun, tiny_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alone = trained_alone(tiny_run("variant=alone", LONG))

    def kill() -> None:
        os.kill(next(iter(reusable_executor._executor._processes)), signal.SIGKILL)

    watcher = when_begun(tiny_home / "oof/fsdkaggle2018/vgg_small-together@r0", 1, kill)
    together = work(tiny_run("variant=together", LONG, "jobs=2"))
    watcher.join(1)
    assert "a process was lost; going on with jobs=1" in capfd.readouterr().out
    assert same_files(alone, together)


def test_processes_that_are_always_lost_are_said_so(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(todo: list[FoldJob], places: list[str]) -> Iterator[dict[str, Any]]:
        asked.append(len(places))
        raise local.TerminatedWorkerError("killed")
        yield

    asked: list[int] = []
    monkeypatch.setattr(local, "_side_by_side", lost)
    todo = queue.build(tiny_run("jobs=2"), tiny_run().experiments())
    with pytest.raises(UserError, match="processes were lost 3 times, most likely for want of memory; give jobs=1"):
        list(local.run(tiny_run("jobs=2"), todo))
    assert asked == [2, 1, 1]


# --------------------------------------------------------------------------------------------------------------- ray


class Crashed(Exception):  # noqa: N818
    """What the toy cluster raises for a lost task."""


class ToyRay(ModuleType):
    """A cluster of one core in this process; tasks whose turn is in `losses` are lost."""

    def __init__(self, losses: set[int], gpus: int = 0) -> None:
        super().__init__("ray")
        self.losses, self.gpus = losses, gpus
        self.calls: list[tuple[Callable[..., Any], FoldJob]] = []
        self.asked: dict[str, float] = {}
        self.cancelled: list[int] = []
        self.exceptions = ModuleType("ray.exceptions")
        for name in ("WorkerCrashedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError"):
            setattr(self.exceptions, name, Crashed)
        self.exceptions.RayTaskError = type("RayTaskError", (Exception,), {"cause": None})  # type: ignore[attr-defined]

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0, "GPU": float(self.gpus)}}, {"Alive": False, "Resources": {}}]

    def remote(self, **options: float) -> Callable[[Callable[..., Any]], Any]:
        self.asked = options

        def task(call: Callable[..., Any]) -> Any:
            holder = ModuleType("task")
            holder.remote = lambda job: self.calls.append((call, job)) or len(self.calls) - 1  # type: ignore[attr-defined]
            return holder

        return task

    def wait(self, refs: list[int], num_returns: int) -> tuple[list[int], list[int]]:
        return refs[:1], refs[1:]

    def get(self, ref: int) -> dict[str, Any]:
        call, job = self.calls[ref]
        if ref in self.losses:
            raise Crashed
        try:
            return dict(call(job))
        except UserError as error:
            failed = self.exceptions.RayTaskError()
            failed.cause = error
            raise failed from error

    def cancel(self, ref: int, force: bool) -> None:
        self.cancelled.append(ref)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ToyRay]]:
    """Put a toy cluster in Ray's place."""

    def make(losses: set[int] | None = None, gpus: int = 0) -> ToyRay:
        ray = ToyRay(losses or set(), gpus)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
        ray.__spec__ = importlib.util.spec_from_loader("ray", None)
        monkeypatch.delitem(sys.modules, "tonestack.training.engines.ray", raising=False)
        parts.find.cache_clear()
        return ray

    yield make
    sys.modules.pop("tonestack.training.engines.ray", None)
    parts.find.cache_clear()


def test_without_ray_one_line_says_so(monkeypatch: pytest.MonkeyPatch, toy: Callable[..., ToyRay]) -> None:
    toy().__spec__ = None
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"engine=ray: Ray is not installed for .*; install it"):
        cli.resolve(["engine=ray"])


def test_lost_tasks_are_sent_out_again(
    tiny_run: TinyRun, toy: Callable[..., ToyRay], capsys: pytest.CaptureFixture[str]
) -> None:
    alone = trained_alone(tiny_run("variant=alone"))
    ray = toy(losses={0, 2})  # fold 0's first and second attempt
    sent = work(tiny_run("variant=sent", "engine=ray"))
    assert same_files(alone, sent)
    assert [job.fold for _, job in ray.calls] == [0, 1, 0, 0]
    assert ray.asked == {"num_cpus": 1, "num_gpus": 0.0, "max_retries": 0}
    assert capsys.readouterr().out.count("fold 0 was lost with its process or node; it is run again") == 2


def test_a_cluster_that_is_gone_is_a_line(
    tiny_run: TinyRun, toy: Callable[..., ToyRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = toy()

    def gone(*_: Any, **__: Any) -> Any:
        raise ConnectionError("the raylet died")

    monkeypatch.setattr(ray, "wait", gone)
    monkeypatch.setattr(ray, "cancel", gone)
    with pytest.raises(UserError, match=r"the cluster is gone \(the raylet died\); run the same command again"):
        work(tiny_run("engine=ray"))


def test_a_cluster_started_here_listens_on_this_machine_alone(
    toy: Callable[..., ToyRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray, started = toy(), []
    constants = ModuleType("ray._private.ray_constants")
    private = ModuleType("ray._private")
    private.ray_constants = constants  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray._private", private)
    monkeypatch.setitem(sys.modules, "ray._private.ray_constants", constants)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def init(address: str, **_: Any) -> None:
        if address == "auto":
            raise ConnectionError
        alone = getattr(constants, "ENABLE_RAY_CLUSTER", True)
        started.append((address, alone, os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]))

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init, raising=False)
    parts.find("engines", "ray").connect()
    assert started == [("local", False, "0")]


def test_a_task_that_is_always_lost_ends_the_run_and_the_others(tiny_run: TinyRun, toy: Callable[..., ToyRay]) -> None:
    ray = toy(losses=set(range(99)))
    with pytest.raises(UserError, match="fold 0: lost with its process or node 4 times"):
        work(tiny_run("engine=ray", "jobs=2"))
    assert len(ray.calls) == 2 * (RETRIES + 1)
    assert ray.cancelled == [7]


def test_an_error_of_a_task_is_the_callers(
    tiny_run: TinyRun, toy: Callable[..., ToyRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(job: FoldJob) -> dict[str, Any]:
        raise UserError("the loss became nan")

    toy()
    monkeypatch.setattr(fold_job, "run", wrong)
    with pytest.raises(UserError, match=r"^the loss became nan$"):
        work(tiny_run("engine=ray"))


def test_jobs_limits_the_tasks_sent_at_once(tiny_run: TinyRun, toy: Callable[..., ToyRay]) -> None:
    ray, seen = toy(), []
    sent = ray.wait
    ray.wait = lambda refs, num_returns: seen.append(len(refs)) or sent(refs, num_returns)  # type: ignore[method-assign]
    work(tiny_run("engine=ray", "jobs=1"))
    assert seen == [1, 1]


@pytest.mark.parametrize(
    ("gpus", "words", "share"),
    [(0, ["device=auto"], 0), (4, ["device=cpu"], 0), (4, ["device=auto"], 1), (1, ["device=cuda", "gpu=0.25"], 0.25)],
)
def test_shares_of_gpus(toy: Callable[..., ToyRay], gpus: int, words: list[str], share: float) -> None:
    toy(gpus=gpus)
    engine = parts.find("engines", "ray")
    assert engine.gpu_share(Call.from_arguments(words), engine._largest_node()) == share


@pytest.mark.parametrize(
    ("word", "message"), [("device=cuda:1", "with engine=ray write device=cuda"), ("device=cuda", "has a GPU")]
)
def test_a_gpu_that_the_cluster_has_not_is_refused(toy: Callable[..., ToyRay], word: str, message: str) -> None:
    toy()
    engine = parts.find("engines", "ray")
    with pytest.raises(UserError, match=message):
        engine.gpu_share(Call.from_arguments([word]), engine._largest_node())


def wait_for_the_other(folder: Path) -> None:
    """Import what training needs and end when both nodes have: then their jobs begin together."""
    importlib.import_module("tonestack.training.fold_job")
    (folder / f"ready{os.getpid()}").touch()
    while len(list(folder.glob("ready*"))) < 2:
        time.sleep(0.01)


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (pip install ray)")
def test_a_node_lost_in_the_middle_changes_no_table(
    tiny_run: TinyRun, tiny_home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray
    from ray.cluster_utils import Cluster

    alone = trained_alone(tiny_run("variant=alone", LONG))
    engine = parts.find("engines", "ray")
    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    second = cluster.add_node(**node)
    try:
        os.environ["RAY_ADDRESS"] = cluster.address
        engine.connect()
        cluster.wait_for_nodes()
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes have no tests on their path
        ray.get([ray.remote(num_cpus=1)(wait_for_the_other).remote(tmp_path) for _ in range(2)])
        folder = tiny_home / "oof/fsdkaggle2018/vgg_small-sent@r0"
        watcher = when_begun(folder, 2, lambda: cluster.remove_node(second, allow_graceful=False))
        sent = work(tiny_run("variant=sent", LONG, "engine=ray", "jobs=2"))
        watcher.join(1)
    finally:
        del os.environ["RAY_ADDRESS"]
        ray.shutdown()
        cluster.shutdown()
    assert "was lost with its process or node; it is run again" in capfd.readouterr().out
    assert same_files(alone, sent)


def test_joblib_works_on_beside_the_engines_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib.executor, "_executor_args", None)  # as in a process that has trained and nothing else
    pool = local.get_memmapping_executor(2, timeout=10)
    assert pool.submit(abs, -1).result() == 1
    assert joblib.Parallel(2)(joblib.delayed(abs)(-n) for n in range(3)) == [0, 1, 2]
