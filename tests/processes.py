"""Waiting for facts about processes, and finding processes that a test left behind."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.warm import PARENT

MARK = "SKYGRID_TEST_MARK"
"""Environment variable that every process started under `leaving_nothing` inherits."""

WAIT_SECONDS = 120.0
"""Seconds to wait for a fact before the test fails; normally it is true much sooner."""


def wait_until(fact: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait until `fact` is true; fail, naming `what`, if it stays false."""
    pause = threading.Event()
    tries = int(seconds / 0.01)
    for _ in range(tries):
        if fact():
            return
        pause.wait(0.01)
    raise AssertionError(f"waited {seconds:g} s in vain for: {what}")


def wait_gone(pids: Iterable[int], seconds: float = WAIT_SECONDS) -> None:
    """Wait until these processes are gone; a zombie is not gone."""
    wanted = set(pids)
    wait_until(
        lambda: not any(psutil.pid_exists(pid) for pid in wanted), f"{wanted} to end", seconds
    )


def running(pids: Iterable[int]) -> set[int]:
    """Return those processes that exist and are no zombies."""
    found = set()
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.add(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def children(pid: int | None = None) -> set[int]:
    """Return the process ids of all descendants of a process, including zombies."""
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def unnamed_files(pids: Iterable[int], least: int) -> list[str]:
    """Describe the files without a name, of `least` bytes or more, that processes have open."""
    found = []
    for pid in pids:
        # A process may end, and close a file, at any moment.
        with suppress(psutil.Error, FileNotFoundError, ProcessLookupError):
            command = " ".join(psutil.Process(pid).cmdline())
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(FileNotFoundError):
                    target, size = os.readlink(entry), os.stat(entry).st_size
                    if "(deleted)" in target and size >= least:
                        found.append(f"{pid} ({command}): {entry.name} -> {target}, {size} bytes")
    return found


def kill(pid: int) -> None:
    """Send SIGKILL to a process, unless it has ended."""
    try:
        psutil.Process(pid).kill()
    except psutil.NoSuchProcess:
        return


@contextmanager
def leaving_nothing() -> Iterator[str]:
    """Fail if a process that was started inside stays after the block; kill it."""
    mark, before, outer = uuid.uuid4().hex, _zombies(), os.environ.get(MARK)
    os.environ[MARK] = mark
    try:
        yield mark
    finally:
        if outer is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = outer
    try:
        wait_until(lambda: not _left(mark, before), "no process to be left")
    except AssertionError:
        raise AssertionError(f"left behind: {_described(_left(mark, before))}") from None
    finally:
        for pid in marked(mark):
            kill(pid)


def _left(mark: str, before: set[int]) -> set[int]:
    """Return the processes with the mark, also orphans, and new zombies of this process."""
    return marked(mark) | (_zombies() - before)


def _zombies() -> set[int]:
    mine = psutil.Process().children()
    return {child.pid for child in mine if child.status() == psutil.STATUS_ZOMBIE}


def marked(mark: str) -> set[int]:
    """Return all processes of this machine with the mark, except this one."""
    found = set()
    agents = {pid for pid, env in PARENT.forked.items() if env.get(MARK) == mark}
    for process in psutil.process_iter():
        try:
            inherited = os.getsid(process.pid) in agents or process.environ().get(MARK) == mark
            if process.pid != os.getpid() and inherited:
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def _described(pids: set[int]) -> list[str]:
    lines = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            lines.append(f"{pid} {process.status()} {' '.join(process.cmdline())}")
        except psutil.Error:
            continue
    return lines
