"""Every verb's door: words in, exit status out (0 done, 2 the user's mistake, 1 a defect)."""

import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.console import refuse
from tonestack.base.errors import UserError
from tonestack.base.files import sweep
from tonestack.base.section import Section
from tonestack.base.text import plain_streams
from tonestack.config.call import Call
from tonestack.config.layers import PROJECT
from tonestack.settings.words import Words

MADE = ("cache", "folds", "oof", "submissions", "reports", "exports", "bundles")  # folders of what is made
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
HANDLES = (errno.EMFILE, errno.ENFILE)
LOST = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)  # of a disk or a network folder that went away
IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENAMETOOLONG)

# A notebook's MPLBACKEND names a backend that is not there. Without PYTHONSAFEPATH a worker process has the current
# folder on its path: a queue.py among the data would be run.
QUIET = {"MPLBACKEND": "agg", "PYTHONSAFEPATH": "1"}


def main(
    stage: Callable[..., Any],
    doc: str | None,
    arguments: list[str] | None = None,
    own: type[Section] | None = None,
) -> None:
    """Run one stage on the command line's words and exit; a user's mistake is one line on stderr.

    own: words of this verb alone, given to the stage as a second argument; words without a key are of the field that
    its `BARE` names, if it has one.
    """
    with plain_streams():
        _main(stage, doc, sys.argv[1:] if arguments is None else arguments, own)


def _main(stage: Callable[..., Any], doc: str | None, arguments: list[str], own: type[Section] | None) -> None:
    if any(word in ("-h", "--help", "help") for word in arguments):
        show(help_text(doc or "", own))
        sys.exit(0)
    try:
        with surroundings():
            mine, rest = _parted(arguments, own)
            call = resolve(rest)
            sweep([call.folds, call.oof, call.submissions, call.reports, call.cache])
            stage(call, *([own.parse(mine, "command line")] if own else []))
    except UserError as error:
        sys.exit(refuse(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output has ended (`| head`)
        _leave_pipe()
        sys.exit(141)
    except BrokenProcessPool:  # of joblib's, which says so when one of its processes is killed
        why = "a worker process was killed, for a lack of memory perhaps"
        sys.exit(refuse(UserError(f"{why}; make room (jobs=1 needs least) and run again: what is done is kept")))
    except FileNotFoundError as error:
        if not is_ours(error.filename):
            raise
        fix = "run again: what is there is kept"
        sys.exit(refuse(UserError(f"{error.filename}: was removed while this ran, by another run perhaps; {fix}")))
    except Exception as error:
        if not is_disks_fault(error):
            raise
        what = error if str(error) else "no memory is left"  # a plain MemoryError says nothing
        sys.exit(refuse(UserError(f"{what}; {mend(error)}")))


@contextmanager
def surroundings() -> Iterator[None]:
    """Set the environment of this process and of its workers as `QUIET` says, and how warnings look; set it back."""
    before = {key: os.environ.get(key) for key in QUIET}
    os.environ.update(QUIET)
    shown, warnings.showwarning = warnings.showwarning, show_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Print a warning of ours as a note, and a library's as Python does, on stderr."""
    ours = Path(filename).is_relative_to(PROJECT / "src")
    said = f"note: {message}" if ours else warnings.formatwarning(message, category, filename, lineno).rstrip()
    print(said, file=sys.stderr)


def resolve(arguments: list[str]) -> Call:
    """The call of `key=value` words; all mistakes are `UserError`."""
    call = Call.from_arguments(arguments)
    parts.find("engines", call.words.engine)  # refused here, not after the features have been made
    return call


def is_disks_fault(error: Exception) -> bool:
    """True if the error comes from the machine: from a full disk, a folder that cannot be written, too few handles.

    Libraries wrap it in errors of their own, but keep the system's words. No memory counts, and so does what lies in
    the way in the folders of what is made.
    """
    if isinstance(error, OSError) and error.errno in IN_THE_WAY:
        return is_ours(error.filename)
    return isinstance(error, MemoryError) or _says(error, DISK + HANDLES + LOST)


def _says(error: Exception, codes: tuple[int, ...]) -> bool:
    return any(os.strerror(code) in str(error) for code in codes)


def mend(error: Exception) -> str:
    """What helps against a fault of the machine."""
    if isinstance(error, MemoryError):
        return "end other programs, or give jobs=1 or smaller batches and crops; what is done is kept"
    if isinstance(error, OSError) and error.errno in IN_THE_WAY:
        return "it is in the way of what is made here: move it away, or give another name= or TONESTACK_HOME"
    if _says(error, HANDLES):
        return "allow more open files (ulimit -n 4096), or give jobs=1; what is done is kept"
    if _says(error, LOST):
        return "run again when the disk or network folder answers; what is done is kept"
    if isinstance(error, PermissionError) and not is_ours(error.filename):
        return "make it readable for this user, or give another file"
    return "make room or give a folder that can be written; what is done is kept"


def is_ours(name: object) -> bool:
    """True if a file lies in the folder of what is made here."""
    home = Path(os.environ.get("TONESTACK_HOME", PROJECT)).absolute()
    path = Path(os.fsdecode(name)).absolute() if isinstance(name, str | bytes | os.PathLike) else None
    return path is not None and any(path.is_relative_to(home / kind) for kind in MADE)


def show(text: str) -> None:
    """Print a long text; a reader that closes the pipe early (`head`) is no fault."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _leave_pipe()


def _leave_pipe() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the exit flushes once more


def _parted(arguments: list[str], own: type[Section] | None) -> tuple[dict[str, Any], list[str]]:
    """A verb's own words, and the rest."""
    mine: dict[str, Any] = {}
    rest: list[str] = []
    bare = getattr(own, "BARE", None)
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if bare and (not equals or key == bare or "/" in key):  # ./a=b.wav is a path by its slash
            mine[bare] = [*mine.get(bare, ()), text if key == bare else argument]
        elif own is None or key not in own.model_fields or not equals:
            rest.append(argument)
        elif key in mine:
            raise UserError(f"'{key}=' is given twice; give it once")
        else:
            mine[key] = text
    return mine, rest


def help_text(doc: str, own: type[Section] | None = None) -> str:
    """A verb's purpose, then every word with its default, its own words first."""
    lines = [doc.strip(), "", "Words (key=value):"]
    for name, field in {**(own.model_fields if own else {}), **Words.model_fields}.items():
        shown = "SECTION.KEY" if name == "overrides" else name
        default = "" if field.default is None or name == "overrides" else f" [{field.default}]"
        lines.append(f"  {shown + '=':13} {field.description}{default}")
    return "\n".join(lines)
