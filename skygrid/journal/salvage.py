"""A new journal from the intact rows of a damaged one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from skygrid.journal.intact import Examination
from skygrid.journal.rows import seal
from skygrid.journal.sqlite import SqliteJournal, connect, writer_lock


def salvage(path: Path, fingerprint: Mapping[str, str]) -> Path:
    """Replace a damaged journal by one that holds its intact rows.

    Parameters
    ----------
    fingerprint
        Of the journal's search, from the run's record.

    Returns
    -------
    kept : Path
        The damaged file under its new name.

    Raises
    ------
    JournalError
        Another process writes the journal, or the folder cannot be written.
    """
    kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    new = path.with_name(f"{path.name}.salvaged")
    lock = writer_lock(path)
    try:
        new.unlink(missing_ok=True)
        _fill(new, path, fingerprint)
        _set_aside(path, kept)
        new.rename(path)
    finally:
        lock.release()
    return kept


def _set_aside(path: Path, kept: Path) -> None:
    """Rename a journal with its WAL, which SQLite would otherwise apply to the new file."""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > 0:
        log.rename(f"{kept}-wal")
    log.unlink(missing_ok=True)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    path.rename(kept)


def _fill(new: Path, damaged: Path, fingerprint: Mapping[str, str]) -> None:
    with closing(SqliteJournal(new)) as journal, closing(connect(damaged, "mode=ro")) as source:
        journal.adopt(("fingerprint", seal(*part)) for part in fingerprint.items())
        journal.adopt(
            (table, row) for table, row in Examination(source).rows() if table != "fingerprint"
        )
