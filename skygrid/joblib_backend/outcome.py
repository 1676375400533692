"""Ends of calls as results or exceptions in the driver."""

from __future__ import annotations

import mmap
import pickle
from collections.abc import Sequence
from contextlib import closing
from io import IOBase
from typing import Any

from skygrid.engine.calls import CallEnd
from skygrid.errors import CallKilledError, SkygridError
from skygrid.search_file.portable import find_obstacle
from skygrid.sklearn_search.exceptions import exception_of
from skygrid.user_code.source import shorten
from skygrid.util.terminal import printable
from skygrid.worker.wire.messages.calls import CallDone

MOST_TRACEBACK = 100_000
"""Maximum length of the attached traceback, in characters."""

CANNOT_SEND = "Could not pickle the task to send it to the workers."
"""Text of joblib's own error."""


class RemoteTraceback(Exception):
    """Cause of an exception that a call raised: the traceback on the node, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def results_of(end: CallEnd, calls: Sequence[Any], first: int) -> Any:
    """Return the results of a batch.

    Parameters
    ----------
    end : CallEnd
    calls : sequence of (function, args, kwargs)
        The calls of the batch.
    first : int
        Number of its first call in the loop.

    Raises
    ------
    BaseException
        The exception that a call raised, with its traceback as its cause.
    CallKilledError
        If the batch was given up.
    SkygridError
        If the nodes are lost or the cluster is closed.
    """
    if end.error is not None:
        raise end.error
    if end.done is None:
        raise CallKilledError(f"{_named(calls, first, end.position)}: {printable(end.reason)}")
    if end.done.status == "returned":
        return _loaded(end.content)
    raise _exception(end, end.done) from RemoteTraceback(
        printable(end.done.fit_error or "", MOST_TRACEBACK)
    )


def _loaded(content: Any) -> Any:
    """Unpickle the content of a call's end. Runs code that the node chose."""
    if not isinstance(content, IOBase):
        return pickle.loads(content)
    with closing(content), mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return pickle.loads(mapped)


def _exception(end: CallEnd, done: CallDone) -> BaseException:
    try:
        error = _loaded(end.content)
    except Exception:  # noqa: BLE001 (the records of the exception say what it was)
        error = None
    if isinstance(error, BaseException):
        return error
    return exception_of(done, f"a call on {end.node}")


def _named(calls: Sequence[Any], first: int, position: int) -> str:
    """Describe the call that took its slot down, or the batch if the call is not known."""
    if not 0 <= position < len(calls):
        return f"calls {first} to {first + len(calls) - 1}"
    function, args, kwargs = calls[position]
    name = getattr(function, "__qualname__", None) or type(function).__name__
    said = [shorten(repr(value), 30) for value in args]
    said += [f"{key}={shorten(repr(value), 30)}" for key, value in kwargs.items()]
    return f"call {first + position}, {name}({', '.join(said)})"


def cannot_send(calls: Sequence[Any], error: Exception) -> Exception:
    """Return the error for a batch that cannot be pickled; it names the object."""
    if isinstance(error, SkygridError):
        return error
    for function, args, kwargs in calls:
        for name, value in {"function": function, "args": args, "kwargs": kwargs}.items():
            obstacle = find_obstacle(value)
            if obstacle is not None:
                return pickle.PicklingError(
                    f"{CANNOT_SEND} {name}{obstacle.path} {obstacle.problem}"
                )
    return pickle.PicklingError(f"{CANNOT_SEND} {type(error).__name__}: {error}")
