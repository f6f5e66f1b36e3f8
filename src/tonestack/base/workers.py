"""Worker processes: they end with their parent, hanging ones are killed, and training keeps freed memory."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import joblib

EVERY = 1.0  # seconds between two looks at the markers of workers
PARENT_EVERY = 0.1  # seconds between two looks at the parent: a worker must not end its job after it
KEEP = (-3, 1 << 30), (-1, (1 << 31) - 1)  # glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: bytes


def end_with(caller: int) -> None:
    """End this process soon after its parent `caller`: workers of a killed run must not go on beside the next run."""
    if os.getpid() != caller:
        _watch_over(caller)


@cache
def _watch_over(caller: int) -> None:
    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(PARENT_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def keep_freed_memory() -> None:
    """Tell glibc's malloc to keep freed memory for the next use; no effect with other C libraries.

    By default malloc returns large blocks to the system and gets them back as zeroed pages, which takes up to a fifth
    of a training step on the CPU. Steps need the same memory; with large networks the peak grows by up to a third.
    """
    with suppress(AttributeError, OSError, TypeError):  # no glibc
        for setting, size in KEEP:
            ctypes.CDLL(None).mallopt(setting, size)


@contextmanager
def ended_when_stuck(folder: Path, seconds: float) -> Iterator[None]:
    """Within the block, kill each child whose `<pid>.doing` in `folder` is unchanged for longer than `seconds`.

    A marker may be older than the block: its number may be another process's by now.
    """
    stop = threading.Event()

    def watch() -> None:
        since: dict[tuple[Path, int], float] = {}
        while not stop.wait(min(EVERY, seconds / 4)):
            now = time.monotonic()
            since = {seen: since.get(seen, now) for seen in _markers(folder)}
            for marker, _ in [seen for seen, start in since.items() if now - start > seconds]:
                with suppress(ProcessLookupError):
                    if is_child(int(marker.stem)):
                        os.kill(int(marker.stem), signal.SIGKILL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _markers(folder: Path) -> list[tuple[Path, int]]:
    """The `<pid>.doing` files of other processes and the time of their last change."""
    found = []
    for marker in folder.glob("*.doing"):
        with suppress(OSError):
            found.append((marker, marker.stat().st_mtime_ns))
    return [(marker, written) for marker, written in found if marker.stem.isdigit()]


def is_child(pid: int) -> bool:
    """True if a process was started by this one."""
    if Path("/proc/self/stat").exists():
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return state.rpartition(")")[2].split()[1] == str(os.getpid())
    shown = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() == str(os.getpid())


def cores() -> int:
    """Number of cores that this process may use, by affinity and container limits."""
    return int(joblib.cpu_count())


def decoders() -> int:
    """Number of processes that decode recordings; at least 2, as a decoder's crash would end the calling process."""
    return max(2, cores())
