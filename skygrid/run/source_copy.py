"""The copy of the search file in a run's folder, and the commit that the file came from."""

from __future__ import annotations

import logging
import subprocess
from dataclasses import dataclass
from pathlib import Path

from skygrid.util.atomic_file import write_atomic
from skygrid.util.regular_file import read_regular

LOGGER = logging.getLogger(__name__)

COPY = "search.py"
COPY_BYTES = 16 * 2**20
"""Largest search file that is copied."""

GIT_SECONDS = 5.0
"""Seconds that git may take; a repository on a slow network drive must not hold a run up."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The commit that a search file came from."""

    commit: str
    """Hash of the commit that is checked out."""

    changed: bool
    """True if the file differs from the one in the commit, or is not in it."""


def copy_search_file(search_file: Path, folder: Path) -> None:
    """Copy a search file into a run's folder, unless it is gone or too large.

    Raises
    ------
    FolderError
        If the folder cannot be written.
    """
    try:
        content = read_regular(search_file, COPY_BYTES)
    except OSError as error:
        LOGGER.warning("no copy of %s: %s", search_file, error)
        return
    write_atomic(folder / COPY, content)


def origin_of(search_file: Path) -> Origin | None:
    """Return the commit of a search file; None if it is in no Git repository, or git is missing."""
    command = ["git", "-C", str(search_file.parent), "status", "--porcelain=v2", "--branch"]
    try:
        done = subprocess.run(
            [*command, "--", search_file.name],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        LOGGER.info("no commit of %s: %s", search_file, error)
        return None
    return read_status(done.stdout.decode(errors="replace")) if done.returncode == 0 else None


def read_status(text: str) -> Origin | None:
    """Return the commit in the output of ``git status --porcelain=v2 --branch`` for one file.

    See `git help status`, "Porcelain Format Version 2". None: a repository without a commit.
    """
    lines = text.splitlines()
    head = "# branch.oid "
    commits = [line.removeprefix(head) for line in lines if line.startswith(head)]
    if not commits or commits[0] == "(initial)":
        return None
    return Origin(commit=commits[0], changed=any(line[:1] in "12u?!" for line in lines if line))
