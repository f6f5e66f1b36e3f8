"""Every verb's door: words in, exit status out (0 done, 2 the user's mistake, 1 a defect)."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

from tonestack.errors import UserError
from tonestack.files import sweep
from tonestack.run import Run
from tonestack.words import Words

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def main(stage: Callable[[Run], Any], doc: str | None, arguments: list[str] | None = None) -> None:
    """Run one stage on the command line's words and exit; a user's mistake is one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if any(word in ("-h", "--help", "help") for word in arguments):
        show(help_text(doc or ""))
        sys.exit(0)
    try:
        run = Run.from_arguments(arguments)
        sweep([run.folds, run.oof, run.submissions, run.reports, run.cache])
        stage(run)
    except UserError as error:
        sys.exit(refuse(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not is_disks_fault(error):
            raise
        sys.exit(refuse(UserError(f"{error}; make room or give a folder that can be written; what is done is kept")))


def is_disks_fault(error: Exception) -> bool:
    """Whether a full disk or a folder that cannot be written is to blame, whichever library says so."""
    return any(os.strerror(code) in str(error) for code in DISK)


def show(text: str) -> None:
    """Print a long text; a reader that closes the pipe early (`head`) is no fault."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the exit flushes once more


def refuse(error: UserError) -> int:
    """Print a user's mistake as one line; return its exit status."""
    print(f"tonestack: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def help_text(doc: str) -> str:
    """A verb's purpose, then every word with its default."""
    lines = [doc.strip(), "", "Words (key=value):"]
    for name, field in Words.model_fields.items():
        shown = "SECTION.KEY" if name == "overrides" else name
        default = "" if field.default is None or name == "overrides" else f" [{field.default}]"
        lines.append(f"  {shown + '=':13} {field.description}{default}")
    return "\n".join(lines)
