"""``report.html`` in a run's folder."""

from __future__ import annotations

import logging
import pickle
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skygrid.errors import FolderError, JournalError, SkygridError
from skygrid.listener import Listener
from skygrid.reports.plain_values import one_line
from skygrid.reports.run_record import RunRecord
from skygrid.run.folder import SEARCH
from skygrid.run.trust import examine
from skygrid.util.atomic_file import write_atomic
from skygrid.util.process import Interruption
from skygrid.util.regular_file import open_regular

LOGGER = logging.getLogger(__name__)

FILE_NAME = "report.html"

MODEL_BYTES = 256 * 2**20
"""Largest search.pkl that is loaded for the diagram of its estimator, in bytes."""


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report of a run, complete or not.

    Parameters
    ----------
    folder : Path
        The run's folder.
    output : Path, optional
        The file to write; default: ``report.html`` in the folder.

    Returns
    -------
    path : Path

    Raises
    ------
    SkygridError
        If the folder holds no readable run, or the file cannot be written.
    """
    path = output or folder / FILE_NAME
    content = report_page(folder).encode(errors="replace")
    try:
        write_atomic(path, content)
    except FolderError as error:
        reason = error.__cause__
        said = getattr(reason, "strerror", None) or reason
        raise FolderError(f"cannot write {path}: {said}. Choose another --output") from error
    return path


def report_page(folder: Path, *, live: bool = False) -> str:
    """Return the page of a run; `live`: for `skygrid watch`.

    Raises
    ------
    SkygridError
        If the folder holds no readable run.
    """
    from skygrid.reports.html.gather import gather
    from skygrid.reports.html.page import render

    own = _is_own(folder)
    diagram = diagram_of(_saved_search(folder)) if own else None
    return render(gather(folder, now=time.time(), own=own, diagram=diagram), live=live)


@contextmanager
def reported(folder: Path, listener: Listener) -> Iterator[None]:
    """Write the report of a run after the block, also if it raises.

    A report that cannot be written, or is interrupted, is one line for the listener, and no error.
    """
    try:
        yield
    finally:
        _write_or_say(folder, listener)


def _write_or_say(folder: Path, listener: Listener) -> None:
    begin = time.monotonic()
    try:
        write_report(folder)
    except (
        Interruption,
        KeyboardInterrupt,
    ):  # the end of the run has its own message and exit code
        listener.message("no report.html: interrupted", always=True)
    except SkygridError as error:
        LOGGER.warning("no report: %s", error)
        listener.message(f"no report.html: {one_line(str(error))}", always=True)
    except Exception as error:  # the run's results matter more than their report
        LOGGER.warning("no report", exc_info=True)
        said = one_line(f"{type(error).__name__}: {error}")
        listener.message(f"no report.html: {said}", always=True)
    else:
        LOGGER.debug("wrote %s in %.3f s", FILE_NAME, time.monotonic() - begin)


def diagram_of(search: Any) -> str | None:
    """Return scikit-learn's HTML of the estimator of a search; None if there is none."""
    estimator = getattr(search, "best_estimator_", None) or getattr(search, "estimator", None)
    if estimator is None:
        return None
    from sklearn.utils import estimator_html_repr

    try:
        return without_scripts(str(estimator_html_repr(estimator)))
    except Exception:  # a user's class may refuse
        LOGGER.debug("no diagram of the estimator", exc_info=True)
        return None


def without_scripts(html: str) -> str:
    """Return HTML without its scripts, which the page's sandbox would refuse with an error each.

    The sandbox keeps the page safe, this keeps its console clean.
    """
    return _HANDLER.sub("", _SCRIPT.sub("", html))


_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
_HANDLER = re.compile(r"""\son[a-z]+\s*=\s*("[^"]*"|'[^']*')""", re.IGNORECASE)


def _is_own(folder: Path) -> bool:
    """Return whether this user made a run in this place."""
    try:
        return examine(folder, RunRecord.read(folder)) is None
    except JournalError:
        LOGGER.debug("the journal cannot be read", exc_info=True)
        return False


def _saved_search(folder: Path) -> Any:
    """Return the saved search of a run that this user made; None if it cannot be loaded."""
    try:
        if (folder / SEARCH).stat().st_size > MODEL_BYTES:
            return None
        with open_regular(folder / SEARCH) as file:
            return pickle.load(file)
    except FileNotFoundError:  # the run has none yet
        return None
    except Exception:  # it may need modules that are gone
        LOGGER.debug("search.pkl cannot be loaded", exc_info=True)
        return None
