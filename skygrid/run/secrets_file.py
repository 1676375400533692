"""Credentials of a run's settings, in a file of their own that is removed with the last fit.

``run.json`` is shown, copied and sent with bug reports, so it has a mask in their place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from skygrid.environment.credentials import reunite, separate
from skygrid.errors import SkygridError, UsageError
from skygrid.reports.run_record import RunRecord
from skygrid.util.atomic_file import read_versioned

FILE_NAME = "secrets.json"
FORMAT = 1


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Content of the file."""

    format: int = FORMAT
    settings: dict[str, Any]
    """Settings with credentials, by ``table.name``."""


def write_secrets(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings that have credentials, readable by this user alone; none: no file.

    Raises
    ------
    SkygridError
        If the file cannot be written.
    """
    path = folder / FILE_NAME
    if not settings or path.exists():
        return  # a resumed run has the settings of its first session
    neighbour = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    try:
        neighbour.unlink(missing_ok=True)
        descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(Secrets(settings=dict(settings))))
        neighbour.replace(path)
    except OSError as error:
        raise SkygridError(f"cannot write {path}: {error.strerror}") from error


def remove_secrets(folder: Path) -> None:
    """Remove the file, because a complete run needs no more nodes.

    Raises
    ------
    SkygridError
        If the file cannot be removed.
    """
    path = folder / FILE_NAME
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SkygridError(f"cannot remove {path}: {error.strerror}. Remove it") from error


def recorded_settings(folder: Path, record: RunRecord) -> dict[str, Any]:
    """Return the settings of a run with their credentials, as far as the folder has them.

    Raises
    ------
    SkygridError
        If the file cannot be read.
    UsageError
        If it would change more than credentials.
    """
    found = read_versioned(folder / FILE_NAME, Secrets, FORMAT, "Start a new run.")
    settings = reunite(record.config, {} if found is None else found.settings)
    # The mark of the folder confirms the record alone.
    if found is not None and separate(settings)[0] != record.config:
        raise UsageError(
            f"{folder / FILE_NAME} does not belong to the run.json beside it. Start a new run"
        )
    return settings
