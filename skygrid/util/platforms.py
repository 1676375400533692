"""Supported operating systems."""

from __future__ import annotations

import sys

from skygrid.errors import UsageError


def check_platform() -> None:
    """Refuse an operating system on which agents cannot run.

    Raises
    ------
    UsageError
        On native Windows, which lacks the POSIX pipes, signals and locks that agents use.
    """
    if sys.platform == "win32":
        raise UsageError(
            "skygrid runs on Linux and macOS. On Windows, run it inside WSL: "
            "`wsl --install`, then install Python and skygrid there"
        )
