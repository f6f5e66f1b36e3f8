"""This machine: a process a job, as many side by side as cores or GPUs take."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.workers import end_with
from tonestack.config.call import Call
from tonestack.training.job import RETRIES, FoldJob, threads_and_jobs

from joblib.executor import get_memmapping_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

IDLE = 300  # seconds after which a process without work ends
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def run(call: Call, todo: Sequence[FoldJob]) -> Iterator[dict[str, Any]]:
    """Run the jobs; where processes are lost (most often for want of memory), go on with half as many at once."""
    places = slots(call)[: len(todo)]
    if len(places) == 1:
        yield from (_work(replace(job, device=places[0]), os.getpid()) for job in todo)
        return
    left = {job.name: job for job in todo}
    for _ in range(RETRIES):
        try:
            for receipt in _side_by_side(list(left.values()), places):
                del left[f"{receipt['experiment']} fold {receipt['fold']}"]
                yield receipt
            return
        except TerminatedWorkerError:
            places = places[: max(1, len(places) // 2)]
            print(f"train: a process was lost; going on with jobs={len(places)} from the last epoch of each fold")
    raise UserError(
        f"train: processes were lost {RETRIES} times, most likely for want of memory; give jobs=1, "
        "or a smaller training.batch_size"
    )


def slots(call: Call) -> list[str]:
    """One place for every job at once: the device that it runs on; GPUs take turns."""
    found = gpus(call.words.device)
    if not found:
        return [call.words.device] * threads_and_jobs(call)[1]
    each = int(1 / (call.words.gpu or 1.0) + 1e-6)
    return [found[i % len(found)] for i in range(call.words.jobs or each * len(found))]


def gpus(device: str) -> list[str]:
    """The GPUs that `device=` stands for: `auto` and `cuda` all of them, `cuda:1` that one; none on the CPU."""
    if device == "cpu":
        return []
    import torch  # only here: a call that has nothing to train starts without it

    count = torch.cuda.device_count()
    return [f"cuda:{i}" for i in range(count)] if device in ("auto", "cuda") else [device] * (count > 0)


def _side_by_side(todo: list[FoldJob], places: list[str]) -> Iterator[dict[str, Any]]:
    """Yield receipts; a place that becomes free takes the next job."""
    limits = dict.fromkeys(THREAD_LIMITS, str(max(job.threads for job in todo)))
    # joblib's own processes: it would take over others that loky has started, and fail on them
    pool = get_memmapping_executor(len(places), timeout=IDLE, env=limits)
    free, waiting = deque(places), deque(todo)
    running: dict[Future[dict[str, Any]], str] = {}
    try:
        while waiting or running:
            while waiting and free:
                place = free.popleft()
                running[pool.submit(_work, replace(waiting.popleft(), device=place), os.getpid())] = place
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                free.append(running.pop(future))
                yield future.result()
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise


def _work(job: FoldJob, caller: int) -> dict[str, Any]:
    from tonestack.training import fold_job  # torch is imported where training happens

    end_with(caller)
    return fold_job.run(job)
