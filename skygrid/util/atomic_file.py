"""A run's files: replaced whole or not at all, and read with a look at their version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from skygrid.errors import SkygridError, UsageError

T = TypeVar("T")


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


class _Version(msgspec.Struct):
    format: int


def read_versioned(path: Path, kind: type[T], newest: int, hint: str = "") -> T | None:
    """Read a JSON document with its version under ``format``.

    Parameters
    ----------
    path : Path
    kind : type
        Type of the document.
    newest : int
        The newest version that can be read.
    hint : str, optional
        Next step for the user where the file is damaged, as a sentence.

    Returns
    -------
    document : kind or None
        None where the file does not exist.

    Raises
    ------
    UsageError
        If a later version of skygrid wrote the file.
    SkygridError
        If the file cannot be read, or is no such document.
    """
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=_Version).format
        if version > newest:
            raise UsageError(
                f"{path} has format {version} and this skygrid reads up to {newest}: upgrade it."
            )
        return msgspec.json.decode(content, type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SkygridError(f"cannot read {path}: {error}. {hint}".rstrip()) from error
