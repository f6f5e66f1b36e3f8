"""The record of a stage: content hashes of its inputs and outputs, to tell if it is up to date.

A file is hashed again only if its size, times or inode differ, so that a check costs a few stat calls.
The record is cache/<name>/stages/<verb>.json; deleting it only makes the stage run again.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import claimed, file_hash, file_state, fingerprint, read_json, write_json
from tonestack.config.call import Call
from tonestack.tables import oof

CODE = Path(__file__).parents[1]


def alone(verb: Callable[[Call], None]) -> Callable[[Call], None]:
    """Let one process at a time run the verb on a competition: two would read and write the same files."""

    @wraps(verb)
    def held(call: Call) -> None:
        with claimed(call.oof / ".lock", f"{call.oof}: another process blends, stacks or scores here"):
            verb(call)

    return held


class UpToDate:
    """One call of a verb: the key of its inputs, its outputs, and the lines it printed."""

    def __init__(self, call: Call, verb: str, tables: Sequence[str], settings: Any, more: Iterable[Path] = ()) -> None:
        self.path = call.stages / f"{verb}.json"
        self.verb = verb
        self.before = remembered(self.path)
        self.hashes: dict[str, list[Any]] = {}
        self.said: list[str] = []
        rows = call.rows
        form = rows.form
        self.key = fingerprint(
            [
                [self._hash(f) for f in (call.folds / "r0.csv", rows.file, *more)],
                [[name, [self._hash(f) for f in _files(call.oof / name)]] for name in tables],
                [rows.columns, rows.test_ids, None if form is None else asdict(form)],
                [call.data.task, call.data.metric, call.data.fold_mean, call.data.fold_levels, call.seed, settings],
                call.data.thresholds.model_dump(),
                [self._hash(f) for f in sorted([*(CODE / "tables").rglob("*.py"), *(CODE / "ensemble").rglob("*.py")])],
            ]
        )

    def why(self) -> str:
        """Return the reason why the stage would run; empty if nothing has changed."""
        outputs = self.before.get("outputs", {})
        if not outputs:
            return "not made yet"
        if self.before.get("key") != self.key:
            return "its inputs or settings have changed"
        other = next((f for f, known in outputs.items() if self._hash(Path(f)) != known), None)
        return f"{other} is gone or was changed" if other else ""

    def up_to_date(self) -> bool:
        """True if nothing has changed; then print so, with the lines of the last call."""
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
        now = list(file_state(found))
        self.hashes[str(path)] = known if known and known[:-1] == now else [*now, file_hash(path)]
        return str(self.hashes[str(path)][-1])


def remembered(path: Path) -> dict[str, Any]:
    """Return the record of a stage; empty if it is damaged, so that the stage runs again."""
    with suppress(UserError):
        return read_json(path, {"key": str, "outputs": dict, "said": list, "hashes": dict}) if path.is_file() else {}
    return {}


def _files(folder: Path) -> list[Path]:
    """Return the files of a prediction table: receipts and parquet files, or all files of a foreign table."""
    native = oof.receipts(folder).values()
    if native:
        return [f for receipt in native for f in (receipt, receipt.with_suffix(".parquet"))]
    return sorted(f for f in folder.glob("[!.]*") if f.is_file())
