"""The log of skygrid's own modules: ``logs/driver.log`` of a run's folder, and ``-v``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skygrid.listener import Listener
from skygrid.reports.progress import LOGGER as PROGRESS

FILE_NAME = "driver.log"
LINE = "%(asctime)s %(name)s: %(message)s"


class _LogFile(logging.FileHandler):
    """Drops lines that cannot be written: a full disk is reported by the journal."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # the first line opens the file
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None: ...  # noqa: N802 (logging calls it)

    def close(self) -> None:
        with suppress(OSError):  # what is buffered is flushed
            super().close()


class _Told(logging.Handler):
    """Passes lines on to a listener, but not those that come from a display's own events."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self.addFilter(lambda record: record.name != PROGRESS.name)

    def emit(self, record: logging.LogRecord) -> None:
        self._listener.told(record.getMessage(), always=False)


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """Append the log to ``driver.log`` in a folder, which is made, while the block runs."""
    with suppress(OSError):  # as above
        folder.mkdir(exist_ok=True)
    with _attached(_LogFile(folder / FILE_NAME, encoding="utf-8", delay=True)):
        yield


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Pass the log on to a listener, as details, while the block runs."""
    with _attached(_Told(listener)):
        yield


@contextmanager
def _attached(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("skygrid")
    before = logger.level, logger.propagate
    handler.setFormatter(logging.Formatter(LINE))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # A search file may have set up logging of its own: stderr is the display's.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        handler.close()
