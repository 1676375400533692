"""Redirection of user output to stderr: stdout is for results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send the stdout of Python, C libraries and child processes to stderr."""
    with _descriptor_1_to_2(), redirect_stdout(sys.stderr):
        yield


@contextmanager
def _descriptor_1_to_2() -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # a process without stdout has nothing to protect
        yield
        return
    try:
        with suppress(OSError):  # without stderr the output has no other place to go
            os.dup2(2, 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Flush Python's buffer before the descriptor changes."""
    if sys.__stdout__ is not None:
        with suppress(OSError, ValueError):  # closed already
            sys.__stdout__.flush()
