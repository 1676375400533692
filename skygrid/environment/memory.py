"""Which environment a search file needed last: a guess at what it needs now, before it is loaded.

What nodes need follows from what the file imports, so it is known for certain only when the file
was loaded. Until then a node can be asked to start in the environment of the last run. When that
turns out to be another one the node starts again: a wrong guess costs time, never the answer.

The memory lies in the user's cache folder. It is about this machine and may go at any time; folders
of runs are kept, moved and shared.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

import msgspec

from skygrid.environment.settings import EnvironmentConfig
from skygrid.errors import SkygridError
from skygrid.files import write_atomic

MOST_REMEMBERED = 500
"""Search files; what was noted first is forgotten first."""


class _Remembered(msgspec.Struct, frozen=True):
    version: int = 1
    environments: dict[str, str] = {}
    """Keys of environments, by what they were for; what was noted last stands last."""


class EnvironmentMemory:
    """What this user's search files needed.

    Parameters
    ----------
    path : Path, optional
        The file; by default in the user's cache folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or _cache_folder() / "environments.json"

    def recall(self, search_file: Path, settings: EnvironmentConfig) -> str | None:
        """Key of the environment that the file needed last; None where that is not known."""
        return self._read().get(_name(search_file, settings))

    def remember(self, search_file: Path, settings: EnvironmentConfig, key: str) -> None:
        """Note the key of the environment that the file needs."""
        name, known = _name(search_file, settings), self._read()
        if known.get(name) == key:
            return
        known.pop(name, None)
        known[name] = key
        newest = dict(list(known.items())[-MOST_REMEMBERED:])
        # Without a memory the next run begins a second later: that is no reason to stop this one.
        with contextlib.suppress(OSError, SkygridError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, msgspec.json.encode(_Remembered(environments=newest)))

    def _read(self) -> dict[str, str]:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Remembered)
        except (OSError, msgspec.DecodeError, ValueError):
            return {}
        return found.environments if found.version == 1 else {}


def _cache_folder() -> Path:
    """The user's own, as https://specifications.freedesktop.org/basedir-spec has it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skygrid"


def _name(search_file: Path, settings: EnvironmentConfig) -> str:
    """Digest of what the environment depends on, as far as it can be known without the file."""
    content = [str(search_file.absolute()), sys.prefix, sys.version, settings]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
