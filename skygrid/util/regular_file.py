"""Reading of files that others may have put there: regular files only, up to a size.

A folder of someone else may hold a pipe, which never ends to wait, or a link to a device, which
never ends to read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO


def open_regular(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open a regular file for reading; do not wait.

    Parameters
    ----------
    path : Path
    follow : bool, default=True
        False: refuse a symbolic link.

    Raises
    ------
    OSError
        If there is no such file, it cannot be opened, or it is a pipe, a device, a folder or a
        socket.
    """
    _refuse_irregular(path, os.stat(path, follow_symlinks=follow))  # opening a device may act on it
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _refuse_irregular(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: Path, most: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file of at most this number of bytes.

    Raises
    ------
    OSError
        As for `open_regular`, or if the file is larger.
    """
    with open_regular(path, follow=follow) as file:
        # The size is checked before memory is taken; a sparse file may claim any.
        if os.fstat(file.fileno()).st_size <= most and len(content := file.read(most + 1)) <= most:
            return content
    raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))


def _refuse_irregular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
