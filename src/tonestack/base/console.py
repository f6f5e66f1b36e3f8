"""Progress of long work: a bar on a terminal, a plain line every ten seconds in a log."""

import sys
import time
from typing import Any, Protocol, Self

from tonestack.base.errors import UserError

import pandas as pd
from tqdm import tqdm

MOST, TAIL = 2_000, 400  # letters of a message, and of its end, where the fix stands
EVERY = 10.0  # seconds between two plain lines


class Bar(Protocol):
    """The progress bar that `bar` returns."""

    def update(self, n: int = 1) -> object:
        """Count `n` more units as done."""

    def set_text(self, text: str) -> None:
        """Show a short text (a loss, a score) behind the rate."""

    def close(self) -> None:
        """End the bar; say the total and the rate once."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> object: ...


def bar(total: int, desc: str, unit: str = "it", enabled: bool = True, brief: bool = False) -> Bar:
    """Return a progress bar on stderr: tqdm on a terminal, plain lines otherwise, nothing if not `enabled`.

    brief: work that is usually over before the first line is due, and of which nothing is then said.
    """
    if enabled and sys.stderr.isatty():
        return _Terminal(total=total, desc=desc, unit=f" {unit}", dynamic_ncols=True, leave=not brief)
    return _Lines(total, desc, unit, enabled, brief)


class _Terminal(tqdm):  # type: ignore[type-arg]
    def update(self, n: float | None = 1) -> bool | None:
        return super().update(n)

    def set_text(self, text: str) -> None:
        self.set_postfix_str(text)


class _Lines:
    def __init__(self, total: int, desc: str, unit: str, enabled: bool, brief: bool = False) -> None:
        self.total, self.desc, self.unit, self.enabled = total, desc, unit, enabled
        self.done, self.text, self.closed, self.silent = 0, "", False, brief
        self.start = self.spoke = time.monotonic()

    def update(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self.spoke >= EVERY:
            self._say()

    def set_text(self, text: str) -> None:
        self.text = text

    def close(self) -> None:
        if not self.closed and self.done and not self.silent:
            self._say()
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _say(self) -> None:
        self.spoke, self.silent = time.monotonic(), False
        if not self.enabled:
            return
        seconds = max(self.spoke - self.start, 1e-9)
        rate = self.done / seconds
        end = f"{_clock(seconds)} in all" if self.done >= self.total else f"{_clock(seconds)} so far"
        if 0 < self.done < self.total:
            end = f"{_clock((self.total - self.done) / rate)} left"
        text = f", {self.text}" if self.text else ""
        print(
            f"{self.desc}: {self.done}/{self.total} {self.unit}, {rate:.3g}/s, {end}{text}", file=sys.stderr, flush=True
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def refuse(error: UserError) -> int:
    """Print a user's mistake as one line; return its exit status."""
    line = " ".join(str(error).split())
    if len(line) > MOST:
        line = f"{line[: MOST - TAIL]} ... {line[-TAIL:]}"
    print(f"tonestack: {line}", file=sys.stderr)
    return 2


def aligned(table: pd.DataFrame) -> str:
    """A table of text cells as lines, first column left, others right."""
    cells = [list(map(str, table.columns)), *([str(v) for v in row] for row in table.itertuples(index=False))]
    width = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, width, strict=True))] for r in cells
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)
