"""Optuna journals that survive killed workers: neither a held lock nor a half-written line blocks the others."""

import os
from contextlib import ExitStack
from pathlib import Path

from tonestack.base.files import claimed

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def storage(path: Path) -> JournalStorage:
    """Open or create a journal file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _Lock(path)
    lock.acquire()  # a half line is cut off before the first reader comes to it
    lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))  # type: ignore[arg-type]


class _Lock:
    """A lock that the system frees when its process ends; the holder removes the half line of a killed writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(claimed(self.path.with_name(f".{self.path.name}.lock"), f"{self.path} is in use"))
        _cut_half_line(self.path)
        return True

    def release(self) -> None:
        self._held.close()


def _cut_half_line(path: Path) -> None:
    """Cut a file after its last line end: a line appended to half a line would damage both."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with open(path, "rb+") as handle:
        handle.seek(-1, os.SEEK_END)
        if handle.read(1) != b"\n":
            handle.seek(0)
            handle.truncate(handle.read().rfind(b"\n") + 1)
