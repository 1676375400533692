"""Writing a run's files so that a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from skygrid.errors import SkygridError


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a neighbour of `path` to write to; flush it to disk and rename it to `path` at the end.

    Raises
    ------
    SkygridError
        If the folder is read-only, the disk is full, and so on; what stood there before stays.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with neighbour.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except OSError as error:
        raise SkygridError(
            f"cannot write {path}: {error.strerror or error}. "
            "Make room or allow writing there, then `skygrid resume` the run."
        ) from error
    finally:
        with suppress(OSError):  # on a read-only disk, where it could not be made either
            neighbour.unlink(missing_ok=True)
