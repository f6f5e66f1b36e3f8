"""A Ray cluster: a task a job, with its share of cores and GPUs, on whichever node is free.

The cluster of RAY_ADDRESS or the one this machine belongs to is joined; where there is none, one of this machine's
cores and GPUs is started. All nodes see the home folder (TONESTACK_HOME) and this source under the same paths: jobs
read their features from there and write the same files as elsewhere, which is also how a job that is lost with its
node goes on from its last epoch. A cluster runs what it is sent: keep it on a network that you trust.
"""

import os
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.config.call import Call
from tonestack.training.job import RETRIES, FoldJob

if find_spec("ray") is None:
    raise UserError(
        f"engine=ray: Ray is not installed for {sys.executable}; install it (pip install ray), or leave engine= out"
    )

SOURCE = str(Path(__file__).parents[3])
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
OBJECTS = 256 << 20  # bytes of a started cluster's object store: jobs pass through it, features never do


@dataclass(frozen=True)
class NodeResources:
    """What the largest node offers: cores for one job, GPUs; and how many nodes there are."""

    cores: int
    gpus: float
    nodes: int


def run(call: Call, todo: Sequence[FoldJob]) -> Iterator[dict[str, Any]]:
    """Run the jobs; those of a lost node or process are sent out again."""
    import ray

    connect()
    largest = _largest_node()
    share = gpu_share(call, largest)
    print(f"ray: {largest.nodes} node(s), {'a GPU share of ' + format(share, 'g') if share else 'the CPU alone'} a job")
    threads = min(todo[0].threads, largest.cores)
    task = ray.remote(num_cpus=threads, num_gpus=share, max_retries=0)(_work)
    waiting = deque(replace(job, device="cuda" if share else "cpu", threads=threads) for job in todo)
    running: dict[Any, FoldJob] = {}
    lost: dict[str, int] = {}
    try:
        with _one_line():
            while waiting or running:
                while waiting and len(running) < (call.words.jobs or len(todo)):
                    job = waiting.popleft()
                    running[task.remote(job)] = job
                (ended, *_), _ = ray.wait(list(running), num_returns=1)
                job = running.pop(ended)
                receipt = _receipt(ended)
                if receipt is not None:
                    yield receipt
                    continue
                lost[job.name] = lost.get(job.name, 0) + 1
                if lost[job.name] > RETRIES:
                    times = f"{lost[job.name]} times"
                    raise UserError(f"{job.name}: lost with its process or node {times}; see `ray status`")
                print(f"ray: {job.name} was lost with its process or node; it is run again")
                waiting.append(job)
    finally:
        with suppress(Exception):  # of a cluster that is gone
            for left in running:
                ray.cancel(left, force=True)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn the loss of the cluster itself into a line; jobs that have ended are kept, the others go on from there."""
    from ray import exceptions

    names = ("LocalRayletDiedError", "RaySystemError")
    gone: tuple[type[Exception], ...] = (ConnectionError,)
    gone += tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))
    try:
        yield
    except gone as error:
        why = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(
            f"engine=ray: the cluster is gone ({why}); run the same command again, or with engine=local: what is done "
            "is kept, and jobs go on from their last epoch"
        ) from None


def connect() -> None:
    """Join the cluster that there is, or start one of this machine."""
    import ray

    if ray.is_initialized():
        return
    paths = os.pathsep.join([SOURCE, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    settings: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONPATH": paths}},
        "logging_level": "warning",
    }
    try:
        ray.init(address="auto", **settings)
    except ConnectionError as error:
        if os.environ.get("RAY_ADDRESS"):
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: no Ray cluster answers ({reason})") from None
        _on_this_machine_alone()
        ray.init(address="local", include_dashboard=False, object_store_memory=OBJECTS, **settings)


def _on_this_machine_alone() -> None:
    """Let a cluster that is started here listen on 127.0.0.1: whoever reaches its ports can run code.

    It is the switch by which Ray keeps to the loopback address on Windows and macOS; Ray reads it when it is imported.
    """
    os.environ[LOOPBACK] = "0"
    with suppress(ImportError):
        from ray._private import ray_constants

        ray_constants.ENABLE_RAY_CLUSTER = False


def gpu_share(call: Call, largest: NodeResources) -> float:
    """GPUs that a job takes; 0 on the CPU."""
    device = call.words.device
    if device.startswith("cuda:"):
        raise UserError(f"device={device} names a GPU of this machine; with engine=ray write device=cuda")
    if device == "cpu" or (device == "auto" and not largest.gpus):
        return 0.0
    if not largest.gpus:
        raise UserError(f"device={device}: no node of the Ray cluster has a GPU; leave device= out")
    return call.words.gpu or 1.0


def _largest_node() -> NodeResources:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = int(max((node.get("CPU", 0) for node in nodes), default=0))
    if cores < 1:
        raise UserError("engine=ray: no node of the Ray cluster offers a core; start one with `ray start`")
    return NodeResources(cores, max(node.get("GPU", 0.0) for node in nodes), len(nodes))


def _receipt(ended: Any) -> dict[str, Any] | None:
    """What an ended task returned; None if it was lost; its own error if it raised one."""
    import ray
    from ray import exceptions

    try:
        return dict(ray.get(ended))
    except exceptions.RayTaskError as error:
        raise (error.cause or error) from None
    except (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
        exceptions.OutOfMemoryError,
    ):
        return None


def _work(job: FoldJob) -> dict[str, Any]:
    from tonestack.training import fold_job

    if not job.cache.is_dir():
        raise UserError(
            f"node {socket.gethostname()} does not see {job.cache}; put TONESTACK_HOME on a folder that all nodes share"
        )
    return fold_job.run(job)
