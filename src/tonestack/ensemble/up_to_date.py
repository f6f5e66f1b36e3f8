"""Whether a stage's outputs were made from exactly what is there now: content hashes, remembered by size and time.

A file is hashed again only when its size or its time of change differ, so that asking costs a few stats.
The record lies in cache/<name>/stages/<verb>.json; deleting it only makes the stage run again.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import claimed, file_hash, fingerprint, read_json, write_json
from tonestack.config.call import Call
from tonestack.tables import oof

CODE = Path(__file__).parents[1]


def alone(verb: Callable[[Call], None]) -> Callable[[Call], None]:
    """A verb that one process at a time runs on a competition: what it reads, another would write."""

    @wraps(verb)
    def held(call: Call) -> None:
        with claimed(call.oof / ".lock", f"{call.oof}: another process blends, stacks or scores here"):
            verb(call)

    return held


class UpToDate:
    """One call of a verb: its inputs' key, its outputs, and what it has said."""

    def __init__(self, call: Call, verb: str, tables: Sequence[str], settings: Any, more: Iterable[Path] = ()) -> None:
        self.path = call.stages / f"{verb}.json"
        self.verb = verb
        self.before = remembered(self.path)
        self.hashes: dict[str, list[Any]] = {}
        self.said: list[str] = []
        of = call.rows
        form = of.form
        self.key = fingerprint(
            [
                [self._hash(f) for f in (call.folds / "r0.csv", of.file, *more)],
                [[name, [self._hash(f) for f in _files(call.oof / name)]] for name in tables],
                [of.columns, of.test_ids, None if form is None else [form.columns, form.ids, form.style, form.k]],
                [call.data.task, call.data.metric, call.data.fold_mean, call.seed, settings],
                [self._hash(f) for f in sorted([*(CODE / "tables").rglob("*.py"), *(CODE / "ensemble").rglob("*.py")])],
            ]
        )

    def why(self) -> str:
        """Why the stage would run; empty where nothing has changed."""
        outputs = self.before.get("outputs", {})
        if not outputs:
            return "not made yet"
        if self.before.get("key") != self.key:
            return "its inputs or settings have changed"
        other = next((f for f, known in outputs.items() if self._hash(Path(f)) != known), None)
        return f"{other} is gone or was changed" if other else ""

    def up_to_date(self) -> bool:
        """Say so, and what the stage had said, where nothing has changed."""
        if self.why():
            return False
        print("\n".join([f"{self.verb}: up to date", *self.before["said"]]))
        return True

    def say(self, line: str) -> None:
        """Print a line and remember it."""
        print(line)
        self.said.append(line)

    def finish(self, outputs: Iterable[Path]) -> None:
        """Record what was made; folders stand for the files in them."""
        files = [f for path in outputs for f in (_files(path) if path.is_dir() else [path])]
        made = {str(f): self._hash(f) for f in files}
        write_json(self.path, {"key": self.key, "outputs": made, "said": self.said, "hashes": self.hashes})

    def _hash(self, path: Path) -> str:
        """Content hash of a file, "" where it is missing."""
        if not path.is_file():
            return ""
        found = path.stat()
        known = self.before.get("hashes", {}).get(str(path))
        same = known and known[:2] == [found.st_size, found.st_mtime_ns]
        self.hashes[str(path)] = known if same else [found.st_size, found.st_mtime_ns, file_hash(path)]
        return str(self.hashes[str(path)][2])


def remembered(path: Path) -> dict[str, Any]:
    """What a stage has left about itself; nothing where it is damaged, so that the stage runs again."""
    with suppress(UserError):
        return read_json(path, {"key": str, "outputs": dict, "said": list, "hashes": dict}) if path.is_file() else {}
    return {}


def _files(folder: Path) -> list[Path]:
    """What a prediction table consists of: receipts and their parquet files, or all files of a foreign one."""
    native = oof.receipts(folder).values()
    if native:
        return [f for receipt in native for f in (receipt, receipt.with_suffix(".parquet"))]
    return sorted(f for f in folder.glob("[!.]*") if f.is_file())
