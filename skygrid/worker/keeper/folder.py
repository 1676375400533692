"""A keeper's folder: where its socket is, what it was started with, and who may touch it when.

The folder is its user's alone. In it lie the keeper's `socket`, its `keeper.log`, and `command`,
which says what it was started for. Beside it lies a lock file, for as long as the folder exists.
Who holds the lock may start a keeper here; and may clear the folder, if no keeper answers in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from select import poll

from skygrid.worker.wire.protocol import PROTOCOL

SOCKET = "socket"
LOG = "keeper.log"
COMMAND = "command"

CONNECT_SECONDS = 30.0
"""How long a keeper that is there may take to accept a connection."""

END_SECONDS = 15.0
"""How long a keeper that was told to end may take before it is killed."""

POLL_SECONDS = 0.02
_CREDENTIALS = struct.Struct("iII")


class KeeperFolder:
    """The folder of one keeper, whether it exists or not.

    Parameters
    ----------
    path : Path
        Of this node: where several nodes share a disk, each has a path of its own.
    kit : str, optional
        What the agent's environment was made from; a keeper of another kit is another keeper.
    """

    def __init__(self, path: Path, kit: str = "") -> None:
        self.path = path.absolute()
        self._kit = kit
        self._lock = self.path.with_name(f"{self.path.name}.lock")

    # -- the lock

    @contextlib.contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Hold the lock; whoever dies with it lets go of it.

        Raises
        ------
        TimeoutError
            If somebody else holds it for so long.
        OSError
            If there can be no lock: no room, no right.
        """
        descriptor = self._take_lock(time.monotonic() + seconds)
        try:
            yield
        finally:
            if not self.path.exists():
                self._lock.unlink(missing_ok=True)
            os.close(descriptor)

    def _take_lock(self, until: float) -> int:
        while True:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who held it before may have removed the file: then this is a lock on nothing.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.lstat(self._lock)):
                        return descriptor
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(descriptor)
                    raise TimeoutError(f"{self._lock} is held by another process") from None
                time.sleep(POLL_SECONDS)
            os.close(descriptor)

    # -- the keeper

    def connect(self) -> socket.socket | None:
        """A connection to the keeper; None when there is none.

        Raises
        ------
        OSError
            If it is unknown: the folder is not the user's alone, the keeper hangs.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._inside():
                sock.settimeout(CONNECT_SECONDS)
                sock.connect(SOCKET)
                sock.settimeout(None)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except BaseException:
            sock.close()
            raise
        return sock

    def listen(self) -> socket.socket:
        """The keeper's socket; nobody finds it before `publish`."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._inside():
            listener.bind(f"{SOCKET}.new")
        listener.listen(16)
        return listener

    def publish(self) -> None:
        """From now on `connect` finds the socket."""
        (self.path / f"{SOCKET}.new").rename(self.path / SOCKET)

    @property
    def reachable(self) -> bool:
        """Whether the socket is in its place."""
        return (self.path / SOCKET).exists()

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """Be in the folder: the path of a socket has 107 bytes at the most, a folder's has more."""
        status = os.lstat(self.path)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{self.path} is not a folder of this user")
        if status.st_mode & 0o077:
            raise PermissionError(f"{self.path} is open to others than its user")
        with contextlib.chdir(self.path):
            yield

    # -- what it was started for

    def make(self, command: Sequence[str]) -> None:
        """Make the folder, for a keeper of this command."""
        self.path.mkdir(parents=True, mode=0o700)
        (self.path / COMMAND).write_text(self._purpose(command))

    def made_for(self, command: Sequence[str]) -> bool:
        """Whether the keeper that is here was started for this command, by this version."""
        try:
            return (self.path / COMMAND).read_text() == self._purpose(command)
        except FileNotFoundError:
            return False

    def _purpose(self, command: Sequence[str]) -> str:
        return json.dumps({"protocol": PROTOCOL, "kit": self._kit, "command": list(command)})

    def last_words(self) -> str:
        """The last line of the keeper's log."""
        try:
            lines = (self.path / LOG).read_text(errors="replace").split("\n")
        except FileNotFoundError:
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    def clear(self) -> None:
        """Remove what a keeper left behind. Only for who holds the lock."""
        # No keeper answers: this removes nobody's socket.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def end_keeper(self, sock: socket.socket) -> None:
        """End the keeper at the other end of a connection, and its agent.

        Raises
        ------
        OSError
            If it cannot be done.
        """
        if sys.platform != "linux":
            raise OSError("only on Linux can a keeper be ended from outside")
        pid = _peer(sock)
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            # Who answers under this number now had it when the descriptor was opened: the
            # descriptor is the keeper's, and not that of a process that got its number.
            again = self.connect()
            if again is None:
                return
            with again:
                if _peer(again) != pid:
                    raise OSError("the keeper was replaced meanwhile")
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(process, number)
                ended = poll()
                ended.register(process)
                if ended.poll(END_SECONDS * 1000):
                    return
            raise TimeoutError(f"process {pid} does not end")
        except ProcessLookupError:
            return
        finally:
            os.close(process)


def _peer(sock: socket.socket) -> int:
    """Process id of who listens at the other end."""
    if sys.platform != "linux":
        raise OSError("only Linux tells who is at the other end of a socket")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if pid <= 0 or uid != os.geteuid():
        raise PermissionError("the keeper there is no process of this user that can be seen here")
    return int(pid)
