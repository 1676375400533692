"""Turns of the threads that run rounds on the same nodes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from skygrid.errors import UsageError

CLOSED = (
    "no nodes run: use the cluster inside its `with` statement, and leave that only when every "
    "search on it has ended, also in other threads"
)

NESTED = (
    "this thread is running a round on this cluster and cannot start another one, for example in a "
    "signal handler: fit the search afterwards, or on another cluster"
)


class Turns:
    """Lets one thread at a time run a round, in the order of requests.

    Turns are given only between `open` and `close`.

    Parameters
    ----------
    on_request : callable
        Called when a thread begins to wait, and when no more turns are given.
    """

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        self._on_request = on_request
        # The condition's lock is reentrant: a signal handler may enter while its own thread holds
        # it.
        self._changed = threading.Condition()
        self._threads: deque[int] = deque()
        """Threads that have a turn (the first one) or wait for one."""

        self.are_given = False
        """True until the engine is closed."""

    def open(self) -> None:
        """Give turns from now on."""
        self.are_given = True

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and have it until the block ends.

        Raises
        ------
        UsageError
            If no turns are given, or this thread has one or waits for one.
        """
        me = threading.get_ident()
        with self._changed:
            if me in self._threads:
                raise UsageError(NESTED)
        try:
            with self._changed:
                self._threads.append(me)
                self._on_request()
                self._changed.wait_for(lambda: self._threads[0] == me or not self.are_given)
            self.check()
            yield
        finally:
            with self._changed:
                if me in self._threads:  # absent if Ctrl-C came first
                    self._threads.remove(me)
                self._changed.notify_all()

    @property
    def wanted(self) -> bool:
        """True if a thread waits for its turn."""
        return len(self._threads) > 1

    def check(self) -> None:
        """Raise if no more turns are given.

        Raises
        ------
        UsageError
            The thread must end its turn now.
        """
        if not self.are_given:
            raise UsageError(CLOSED)

    def close(self) -> None:
        """Give no more turns; return when no other thread has one or waits for one."""
        me = threading.get_ident()
        with self._changed:
            self.are_given = False
            self._changed.notify_all()
            self._on_request()
            self._changed.wait_for(lambda: all(one == me for one in self._threads))
