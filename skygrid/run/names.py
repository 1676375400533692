"""Look-up of runs by name."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from skygrid.errors import UsageError

RUN_FILE = "run.json"
"""File that marks a folder as a run's folder."""

JOURNAL_FILE = "journal.sqlite"
"""File with the fits of a run."""


def run_folders(runs_dir: Path) -> list[Path]:
    """Return the folders of all runs in `runs_dir`, sorted by name; empty if it does not exist."""
    try:
        return sorted(folder for folder in runs_dir.iterdir() if _is_run(folder))
    except (FileNotFoundError, NotADirectoryError):  # no run was started yet
        return []
    except OSError as error:
        raise UsageError(f"cannot look into {runs_dir}: {error.strerror}") from error


def _is_run(folder: Path) -> bool:
    """Return whether a folder holds a run; no for one that this user may not enter."""
    return os.path.isfile(folder / RUN_FILE)  # Path.is_file raises PermissionError


def find_run(run: str, runs_dir: Path) -> Path:
    """Return the folder of a run.

    Parameters
    ----------
    run : str
        Name of the run, a unique beginning of the name, or the path of its folder.
    runs_dir : Path
        Folder of all runs.

    Raises
    ------
    UsageError
        If no run or more than one matches; the message lists the candidates.
    """
    folders = {folder.name: folder for folder in run_folders(runs_dir)}
    if run in folders:
        return folders[run]
    if _is_run(Path(run)):
        return Path(run)
    if run and (runs_dir / run / JOURNAL_FILE).is_file():
        raise UsageError(
            f"{runs_dir / run} has lost its run.json: restore the file from a copy, or start the "
            "search again under another --name"
        )
    matches = [name for name in folders if run and name.startswith(run)]
    if len(matches) == 1:
        return folders[matches[0]]
    if matches:
        raise UsageError(f"{run} may be any of {', '.join(matches)}; write more of the name")
    near = difflib.get_close_matches(run, folders, n=1, cutoff=0.5)
    if near:
        raise UsageError(f"there is no run {run} in {runs_dir}; did you mean {near[0]}?")
    where = "`skygrid runs` lists them" if folders else "there are none at all"
    raise UsageError(f"there is no run {run} in {runs_dir}; {where}")
