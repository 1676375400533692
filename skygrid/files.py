"""Writing a run's files so that a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import os
from pathlib import Path

from skygrid.errors import SkygridError


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to a neighbour of `path`, flush it to disk, and rename it to `path`.

    Raises
    ------
    SkygridError
        If the folder is read-only, the disk is full, and so on; what stood there before stays.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with neighbour.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except OSError as error:
        neighbour.unlink(missing_ok=True)
        raise SkygridError(
            f"cannot write {path}: {error.strerror or error}. "
            "Make room or allow writing there, then `skygrid resume` the run."
        ) from error
