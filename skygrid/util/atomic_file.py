"""Atomic replacement of files, and reading of versioned JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from skygrid.errors import FolderError, SkygridError, UsageError
from skygrid.util.process import process_exists
from skygrid.util.regular_file import read_regular

T = TypeVar("T")

DOCUMENT_BYTES = 2**30
"""Largest document that is read. A result of a million fits has a tenth of it."""


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` through `atomic_file`."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block ends.

    The file stands beside `path`. It is flushed to disk, then renamed; so is its folder.

    Raises
    ------
    FolderError
        If the file cannot be written (read-only folder, full disk); `path` keeps its old content.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with neighbour.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise FolderError(
            f"cannot write {path}: {error.strerror or error}. "
            "Make room or allow writing there, then `skygrid resume` the run."
        ) from error
    finally:
        with suppress(OSError):  # on a read-only disk the file was never made
            neighbour.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that were killed while they wrote into a folder."""
    for path in folder.iterdir():
        found = _TEMPORARY.fullmatch(path.name)
        if found and not process_exists(int(found[1])):
            with suppress(OSError):  # on a read-only disk it stays
                path.unlink()


_TEMPORARY = re.compile(r"\..+\.(\d{1,9})")
"""Name of a temporary file of `atomic_file`; it ends with the number of its process."""


def _sync_folder(folder: Path) -> None:
    """Flush the new name of a file to disk, so that it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Version(msgspec.Struct):
    format: int


def read_versioned(path: Path, kind: type[T], newest: int, hint: str = "") -> T | None:
    """Read a JSON document that has its version under ``format``.

    Parameters
    ----------
    path : Path
    kind : type
        Type of the document.
    newest : int
        The newest version that can be read.
    hint : str, optional
        A sentence with the next step for the user, added when the file is damaged.

    Returns
    -------
    document : kind or None
        None if the file does not exist.

    Raises
    ------
    UsageError
        If a later version of skygrid wrote the file.
    SkygridError
        If the file cannot be read or does not decode as `kind`.
    """
    try:
        content = read_regular(path, DOCUMENT_BYTES)
        version = msgspec.json.decode(content, type=_Version).format
        if version > newest:
            raise UsageError(
                f"{path} has format {version} and this skygrid reads up to {newest}: upgrade it."
            )
        return msgspec.json.decode(content, type=kind)
    except (FileNotFoundError, NotADirectoryError):  # never written
        return None
    except OSError as error:
        said = error.strerror or error
        raise SkygridError(f"cannot read {path}: {said}. {hint}".rstrip()) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise SkygridError(f"cannot read {path}: {error}. {hint}".rstrip()) from error
