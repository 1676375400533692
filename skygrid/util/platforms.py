"""The systems that skygrid runs on."""

from __future__ import annotations

import sys

from skygrid.errors import UsageError


def check_platform() -> None:
    """Refuse a system on which agents cannot run.

    Raises
    ------
    UsageError
        On Windows itself: agents use pipes, signals and locks as POSIX has them.
    """
    if sys.platform == "win32":
        raise UsageError(
            "skygrid runs on Linux and macOS. On Windows, run it inside WSL: "
            "`wsl --install`, then install Python and skygrid there"
        )
