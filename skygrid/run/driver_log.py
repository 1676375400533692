"""The driver's log: ``logs/driver.log`` in a run's folder, and ``-v`` without debug lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from logging.handlers import MemoryHandler
from pathlib import Path

from skygrid.environment.credentials import masked
from skygrid.listener import Listener
from skygrid.reports.progress import LOGGER as PROGRESS

FILE_NAME = "driver.log"
_passed_on = ContextVar("passed_on", default=False)
"""True while a display logs a line that a module has logged already."""

LINE = "%(asctime)s %(name)s: %(message)s"


class _LogFile(logging.FileHandler):
    """Log file that drops lines it cannot write: the journal reports a full disk."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # the first line opens the file
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None: ...  # noqa: N802 (logging calls it)

    def close(self) -> None:
        with suppress(OSError):  # closing flushes the buffer
            super().close()


class _MaskedLine(logging.Formatter):
    """Formatter that leaves out credentials of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class _Told(logging.Handler):
    """Passes lines to a listener, except those that a display logs itself."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(logging.INFO)
        self._listener = listener
        self.addFilter(lambda record: record.name != PROGRESS.name)

    def emit(self, record: logging.LogRecord) -> None:
        token = _passed_on.set(True)
        try:
            self._listener.message(masked(record.getMessage()), always=False)
        finally:
            _passed_on.reset(token)


@contextmanager
def kept() -> Iterator[Callable[[Path], None]]:
    """Keep the log while the block runs, because nodes start before the run's folder exists.

    Yields
    ------
    write_to : callable
        Appends the log, earlier lines included, to ``driver.log`` in a folder; makes the folder.
    """
    lines = MemoryHandler(capacity=1)  # keeps all lines until it has a target
    lines.addFilter(lambda record: not _passed_on.get())

    def write_to(folder: Path) -> None:
        with suppress(OSError):  # `_LogFile` then drops its lines
            folder.mkdir(exist_ok=True)
        file = _LogFile(folder / FILE_NAME, encoding="utf-8", delay=True)
        file.setFormatter(_MaskedLine(LINE))
        closing.callback(file.close)
        lines.setTarget(file)

    with ExitStack() as closing, _attached(lines):
        yield write_to


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """Append the log to ``driver.log`` in a folder while the block runs; make the folder."""
    with kept() as write_to:
        write_to(folder)
        yield


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Pass the log to a listener, as details, while the block runs."""
    with _attached(_Told(listener)):
        yield


@contextmanager
def _attached(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("skygrid")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    # A search file may log to stderr, which the display owns: keep these lines away from it.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        handler.close()
