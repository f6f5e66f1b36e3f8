"""Shared by the benchmarks: sides timed in turn, this machine's peaks, one table and one json per benchmark."""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tonestack.base.console import aligned
from tonestack.base.files import write_json

RESULTS = Path(__file__).parent / "results"
FSDMINI = Path(__file__).parents[2] / "shared" / "data" / "fsdmini"


def in_turn(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least wall seconds of each side over `rounds`; taking turns, other load on the machine meets all alike."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, work in sides.items():
            started = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def least_cpu_seconds(work: Callable[[], Any], rounds: int) -> float:
    """Least processor time of this process (all its threads) in one call: other load on the machine is not counted."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def peak_memory() -> float:
    """GiB: largest resident size so far of this process, and of the largest process that it has started and ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return float(max(resource.getrusage(kind).ru_maxrss for kind in kinds)) / 2**20


def product_peak(threads: int, dtype: Any = None, size: int = 1536) -> float:
    """GFLOP/s of a large matrix product in a type (float32 if none), best of several."""
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.randn(size, size).to(dtype or torch.float32) for _ in range(2))
    return 2 * size**3 / least_cpu_seconds(lambda: a @ b, 8) * threads / 1e9


def copy_bandwidth(threads: int, mebibytes: int = 256) -> float:
    """GB/s read plus written by a copy far larger than the caches, best of several."""
    import torch

    torch.set_num_threads(threads)
    source = torch.ones(mebibytes << 18)
    target = torch.empty_like(source)
    return 2 * source.nbytes / least_cpu_seconds(lambda: target.copy_(source), 6) * threads / 1e9


def machine() -> dict[str, Any]:
    """Where a number was measured."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next(
            (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line), cpu
        )
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}


def report(name: str, rows: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Print the rows as a table and write bench/results/<name>.json, rows included."""
    shown = pd.DataFrame(rows).map(_cell)
    print(f"{name}: {result['about']}")
    print(aligned(shown.fillna("")))
    if "ratio" in result:
        print(f"ratio {result['ratio']:.2f}\n")
    write_json(RESULTS / f"{name}.json", result | {"machine": machine(), "rows": rows})


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
