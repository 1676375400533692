"""Agents and commands forked from a process that has imported scikit-learn.

A new interpreter that imports scikit-learn takes a second of processor time, and the tests start
some hundred agents and commands. A forked one is a child of this process too: it is killed, waited
for and counted like any other. Two things differ: command line and first environment in ``/proc``
are those of the parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

PROGRAM = Path(__file__).with_name("warm_parent.py")
FORKED = {
    "skygrid.worker": [sys.executable, "-P", "-m", "skygrid.worker"],
    "skygrid": [sys.executable, "-m", "skygrid"],
}
"""Start of each command that is forked instead, by module."""

HASH_SEED = "0"
PR_SET_CHILD_SUBREAPER = 36
"""Source: prctl(2)."""


class Parent:
    """The process that forks, started when it is first needed."""

    def __init__(self, connection: socket.socket | None = None) -> None:
        self._asking = threading.Lock()
        self._environment = dict(os.environ)  # before any test changes it
        self._process: subprocess.Popen[bytes] | None = None
        self._connection = connection
        self.modules = set(FORKED)
        """Modules that are forked now; tests of faults start commands as users do."""

        self.forked: dict[int, Mapping[str, str]] = {}
        """The environment of each process, by its id."""

    def module_of(self, command: Sequence[Any], environment: Mapping[str, str]) -> str | None:
        """Return the module of a command that can be forked; None for other commands."""
        wanted = {"PYTHONHASHSEED": HASH_SEED, **_python_settings(environment)}
        if wanted != {**_python_settings(self._environment), "PYTHONHASHSEED": HASH_SEED}:
            return None
        if sys.platform != "linux":
            return None
        known = (name for name in self.modules if command[: len(FORKED[name])] == FORKED[name])
        return next(known, None)

    def fork(
        self,
        module: str,
        arguments: Sequence[str],
        streams: Sequence[int],
        environment: Mapping[str, str],
        folder: str,
        *,
        session: bool,
    ) -> int:
        """Fork a process, adopt it, and return its id."""
        request = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": folder,
            "session": session,
        }
        with self._asking:
            connection = self._connection or self._start()
            with _adopting():
                socket.send_fds(connection, [json.dumps(request).encode()], streams)
                pid = int(connection.recv(32))
            self.forked[pid] = environment
            return pid

    def _start(self) -> socket.socket:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**self._environment, "PYTHONHASHSEED": HASH_SEED},
            )
        self._connection = mine
        return mine

    def close(self) -> None:
        """End the process."""
        if self._connection is not None and self._process is not None:
            self._connection.close()
            self._process.wait()


PARENT = Parent()


def fork_with(connection: socket.socket) -> None:
    """Make the parent at the other end fork the processes that this one starts, until it ends."""
    global PARENT
    PARENT = Parent(connection)
    mock.patch.object(subprocess, "Popen", ForkedProcess).start()


def _python_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith("PYTHON")}


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Make this process the parent of descendants that lose theirs.

    Slots of an agent that ends meanwhile are adopted too. A thread waits for the end of each;
    otherwise a zombie would stay, and tests would count it.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
        for pid in _children():
            if _is_of_another_session(pid):
                threading.Thread(target=_reap, args=(pid,), daemon=True).start()


def _children() -> list[int]:
    """Return the children of this process. Source: proc(5), ``/proc/PID/task/TID/children``."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            found += map(int, (task / "children").read_text().split())
    return found


def _is_of_another_session(pid: int) -> bool:
    """Return whether a child was started by a process that leads a session of its own."""
    try:
        return os.getsid(pid) not in (pid, os.getsid(0))
    except ProcessLookupError:
        return False


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # another thread was first
        os.waitpid(pid, 0)


_SIGNATURE = inspect.signature(subprocess.Popen._execute_child)


class ForkedProcess(subprocess.Popen):
    """`subprocess.Popen` that forks if it can and starts a program otherwise."""

    def _execute_child(self, *values: Any) -> None:
        call = _SIGNATURE.bind(self, *values).arguments
        streams = [call["p2cread"], call["c2pwrite"], call["errwrite"]]
        environment = dict(os.environ if call["env"] is None else call["env"])
        module = None if -1 in streams else PARENT.module_of(call["args"], environment)
        if module is None:
            super()._execute_child(*values)
            return
        self.pid = PARENT.fork(
            module,
            call["args"][len(FORKED[module]) :],
            streams,
            environment,
            str(call["cwd"] or os.getcwd()),
            session=call["start_new_session"],
        )
        self._child_created = True
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(call[name] for name in names))


@contextlib.contextmanager
def forked_processes() -> Iterator[None]:
    """Fork every agent and command that this process starts in the block."""
    try:
        with mock.patch.object(subprocess, "Popen", ForkedProcess):
            yield
    finally:
        PARENT.close()
