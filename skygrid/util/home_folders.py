"""Paths that begin with the home folder of a user."""

from __future__ import annotations

from pathlib import Path

from skygrid.errors import ConfigError


def expand_home(path: str | Path, origin: str) -> Path:
    """Replace ``~`` or ``~user`` at the start of a path by the home folder.

    Parameters
    ----------
    path : str or Path
    origin : str
        Origin of the path, for the message.

    Raises
    ------
    ConfigError
        If this machine has no such user, or does not know the home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the only error that expanduser raises
        first = Path(path).parts[0]
        lacks = "HOME is not set" if first == "~" else f"this machine has no user {first[1:]}"
        raise ConfigError(f"{origin} is {str(path)!r}, but {lacks}: write the whole path") from None
