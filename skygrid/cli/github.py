"""Reports to GitHub Actions, where a job runs there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from skygrid.errors import SkygridError
from skygrid.util.terminal import say

COMMANDS = ("run", "resume")
"""Commands with a step summary."""


def runs_here() -> bool:
    """Return True in a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def report(arguments: Sequence[str], folder: Path | None, error: str | None) -> None:
    """Write annotations to stderr, and the step summary of a search.

    Parameters
    ----------
    arguments : sequence of str
        The command line.
    folder : Path or None
        The run's folder, if there is a run.
    error : str or None
        Message that the command ended with.
    """
    from skygrid.reports import github
    from skygrid.reports.result_json import read_summary

    try:
        summary = None if folder is None else read_summary(folder)
    except SkygridError as problem:  # the run's own error matters more
        say(f"warning: {problem}")
        summary = None
    for line in github.annotation_lines(summary, error):
        say(line)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path and arguments and arguments[0] in COMMANDS:
        name = " ".join(arguments) if folder is None else folder.name
        _append(Path(path), github.step_summary(name, summary, error))


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        say(f"warning: cannot write {path}, the step summary: {error.strerror}")
