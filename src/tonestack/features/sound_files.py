"""Opens recordings for libsndfile: by an open file, never by a name.

By a name that it does not recognise libsndfile looks for a resource fork beside it (`._NAME`), which may be a FIFO, and
takes what is called .au, .snd, .vox or .gsm for samples without a header: a page of HTML would be noise.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tonestack.features import ffmpeg, joined, mp3_frames

import soundfile

FORK = "._"  # where libsndfile looks for the resource fork of an open file: in the current folder


@contextmanager
def opened(path: Path | str) -> Iterator[soundfile.SoundFile]:
    """Open a recording; `soundfile.SoundFileError` if nobody knows how, `OSError` if it is no plain file."""
    if os.path.lexists(FORK) and not os.path.isfile(FORK):
        raise OSError(errno.EBUSY, f"'{FORK}' in the current folder is not a regular file; remove it")
    handle = open_regular(path)
    try:
        with _sound(handle) as sound:
            yield sound
    finally:
        os.close(handle)


def _sound(handle: int) -> soundfile.SoundFile:
    """Open by libsndfile; what it does not know, by ffmpeg, which is used in the same way."""
    try:
        return joined.opened(handle) or soundfile.SoundFile(mp3_frames.source(handle), closefd=False)
    except soundfile.SoundFileError:
        what = ffmpeg.kind(handle)
        if not what:
            raise
    return ffmpeg.Piped(handle, what)


def open_regular(path: Path | str) -> int:
    """Return the descriptor of a file opened for reading; a FIFO or a device is an `OSError`, and does not block."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file")
    return handle
