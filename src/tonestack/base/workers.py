"""Worker processes: they end with who started them, one that hangs is ended, and training keeps its memory."""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import joblib

EVERY = 1.0  # seconds between two looks
KEEP = (-3, 1 << 30), (-1, (1 << 31) - 1)  # glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: bytes


def end_with(caller: int) -> None:
    """End this process soon after `caller`, which started it: a killed run must not work on beside the next one."""
    if os.getpid() != caller:
        _watch_over(caller)


@cache
def _watch_over(caller: int) -> None:
    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def keep_freed_memory() -> None:
    """Let glibc's malloc keep what is freed for the next use; elsewhere nothing is done.

    It gives large blocks back and has them again, zeroed page by page, which takes a training step on the CPU up to a
    fifth of its time. A step needs what the last one needed; with large networks the peak grows by up to a third.
    """
    with suppress(AttributeError, OSError, TypeError):  # no glibc
        for setting, size in KEEP:
            ctypes.CDLL(None).mallopt(setting, size)


@contextmanager
def ended_when_stuck(folder: Path, seconds: float) -> Iterator[None]:
    """Meanwhile kill every process whose `<pid>.doing` in `folder` stays the same for longer than `seconds`."""
    stop = threading.Event()

    def watch() -> None:
        since: dict[tuple[Path, int], float] = {}
        while not stop.wait(min(EVERY, seconds / 4)):
            now = time.monotonic()
            since = {seen: since.get(seen, now) for seen in _markers(folder)}
            for marker, _ in [seen for seen, start in since.items() if now - start > seconds]:
                with suppress(ProcessLookupError):
                    os.kill(int(marker.stem), signal.SIGKILL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _markers(folder: Path) -> list[tuple[Path, int]]:
    """The markers of other processes and when each was last written."""
    found = []
    for marker in folder.glob("*.doing"):
        with suppress(OSError):
            found.append((marker, marker.stat().st_mtime_ns))
    return [(marker, written) for marker, written in found if marker.stem != str(os.getpid())]


def cores() -> int:
    """Cores this process may use (affinity and container limits counted)."""
    return int(joblib.cpu_count())


def decoders() -> int:
    """Processes that decode recordings: never the calling one, which a decoder's crash would end."""
    return max(2, cores())
