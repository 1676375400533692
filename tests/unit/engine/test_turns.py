"""Threads take turns in the order in which they ask, and none waits for ever."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from skygrid.engine.turns import Turns
from skygrid.errors import UsageError
from tests.processes import WAIT_SECONDS, wait_until


@pytest.fixture
def turns() -> Iterator[Turns]:
    """Open turns."""
    turns = Turns()
    turns.open()
    yield turns
    turns.close()


class Asking(threading.Thread):
    """Thread that asks for a turn; its constructor returns once it has asked."""

    def __init__(self, turns: Turns, log: list[Asking]) -> None:
        super().__init__(daemon=True)
        self.error: Exception | None = None
        self._turns, self._log = turns, log
        self.start()
        wait_until(lambda: self.ident in turns._threads or self in log, "the thread to ask")

    def run(self) -> None:
        try:
            with self._turns.turn():
                self._log.append(self)
        except UsageError as error:
            self.error = error

    def end(self) -> None:
        self.join(WAIT_SECONDS)
        assert not self.is_alive()


def test_turns_are_given_in_the_order_of_asking(turns: Turns) -> None:
    """Threads have their turns in the order in which they asked."""
    log: list[Asking] = []
    with turns.turn():
        threads = [Asking(turns, log) for _ in range(4)]
        assert not log
    for thread in threads:
        thread.end()
    assert log == threads


def test_a_thread_that_has_a_turn_cannot_ask_for_another(turns: Turns) -> None:
    """A thread that asks for a second turn gets an error, because it would wait for itself."""
    with turns.turn(), pytest.raises(UsageError, match="running a round"), turns.turn():
        pass
    with turns.turn():
        pass


def test_waiting_threads_end_when_turns_close(turns: Turns) -> None:
    """Closing ends waiting threads, fails the next check of the running one and waits for it."""
    log: list[Asking] = []
    with turns.turn():
        waiting = Asking(turns, log)
        closing = threading.Thread(target=turns.close, daemon=True)
        closing.start()
        waiting.end()
        assert "`with` statement" in str(waiting.error)
        assert closing.is_alive()
        with pytest.raises(UsageError):
            turns.check()
    closing.join(WAIT_SECONDS)
    assert not closing.is_alive()
    assert not log


def test_closing_in_the_middle_of_a_turn_does_not_wait_for_itself(turns: Turns) -> None:
    """A signal handler may close the turns that its own thread uses."""
    with turns.turn():
        turns.close()
    with pytest.raises(UsageError, match="no nodes run"), turns.turn():
        pass


def test_ctrl_c_removes_a_waiting_thread_from_the_line(turns: Turns) -> None:
    """After Ctrl-C in a thread that waits, the next thread has its turn."""
    held, free, interrupted = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with turns.turn():
            held.set()
            free.wait(WAIT_SECONDS)

    def interrupt() -> None:
        # Send the signal repeatedly: if it arrives just before a wait, Python handles it after the
        # wait.
        def signalled() -> bool:
            signal.pthread_kill(main, signal.SIGINT)
            return interrupted.is_set()

        wait_until(lambda: main in turns._threads, "the main thread to wait")
        wait_until(signalled, "the main thread to be interrupted")

    def raise_once(*_: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    main = threading.main_thread().ident
    assert main is not None
    holding = threading.Thread(target=hold, daemon=True)
    holding.start()
    assert held.wait(WAIT_SECONDS)
    interrupting = threading.Thread(target=interrupt, daemon=True)
    before = signal.signal(signal.SIGINT, raise_once)
    try:
        interrupting.start()
        with pytest.raises(KeyboardInterrupt), turns.turn():
            pass
        interrupting.join(WAIT_SECONDS)
    finally:
        signal.signal(signal.SIGINT, before)
    free.set()
    holding.join(WAIT_SECONDS)
    log: list[Asking] = []
    Asking(turns, log).end()
    assert len(log) == 1


def test_a_request_is_announced() -> None:
    """The thread that has the turn can find out that another one waits, and that it must end."""
    requests: list[bool] = []
    turns = Turns(lambda: requests.append(turns.wanted))
    turns.open()
    with turns.turn():
        assert requests == [False]
        other = Asking(turns, [])
        assert requests == [False, True]
        assert turns.wanted
    other.join(WAIT_SECONDS)
    assert not turns.wanted
    turns.close()
    assert len(requests) == 3
