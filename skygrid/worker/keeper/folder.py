"""A keeper's folder with its socket, its log and the command it was started with.

The folder is private to its user. It holds the keeper's `socket`, its `keeper.log`, `command`, the
purpose of the keeper, and `host`. A lock file lies beside it as long as the folder exists. Only the
holder of the lock may start a keeper, or clear a folder in which no keeper answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
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

from skygrid.worker.limits import KEEPER_CONNECT_SECONDS, KEEPER_END_SECONDS
from skygrid.worker.machine.locks import is_named, try_lock
from skygrid.worker.wire.protocol import PROTOCOL

SOCKET = "socket"
LOG = "keeper.log"
COMMAND = "command"
HOST = "host"

POLL_SECONDS = 0.02
_CREDENTIALS = struct.Struct("iII")


class KeeperFolder:
    """The folder of one keeper, which may not exist yet.

    Parameters
    ----------
    path : Path
        Path for this node only; nodes that share a disk use different paths.
    kit : str, optional
        Source of the agent's environment. A keeper of another kit does not serve this one.
    """

    def __init__(self, path: Path, kit: str = "") -> None:
        self.path = path.absolute()
        self._kit = kit
        self._lock = self.path.with_name(f"{self.path.name}.lock")

    # -- the lock

    @contextlib.contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Hold the lock; the kernel releases it if the process dies.

        Raises
        ------
        TimeoutError
            If another process holds the lock for `seconds`.
        OSError
            If the lock file cannot be made.
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
            locked = try_lock(descriptor, fcntl.LOCK_EX)
            if locked and is_named(descriptor, self._lock):
                return descriptor
            os.close(descriptor)
            if not locked:
                if time.monotonic() > until:
                    raise TimeoutError(f"{self._lock} is held by another process")
                time.sleep(POLL_SECONDS)

    # -- the keeper

    def connect(self) -> socket.socket | None:
        """Return a connection to the keeper, or None if no keeper runs.

        Raises
        ------
        OSError
            If that is unknown: the folder is not private to the user, or the keeper hangs.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._inside():
                sock.settimeout(KEEPER_CONNECT_SECONDS)
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
        """Return the keeper's listening socket, which `connect` finds only after `publish`."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._inside():
            listener.bind(f"{SOCKET}.new")
        listener.listen(16)
        return listener

    def publish(self) -> None:
        """Rename the socket so that `connect` finds it."""
        (self.path / f"{SOCKET}.new").rename(self.path / SOCKET)

    @property
    def reachable(self) -> bool:
        """True if the published socket exists."""
        return (self.path / SOCKET).exists()

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """Change into the folder: a socket's path is limited to 107 bytes, which a folder's may
        exceed."""
        status = os.lstat(self.path)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{self.path} is not a folder of this user")
        if status.st_mode & 0o077:
            raise PermissionError(f"{self.path} is accessible to other users")
        with contextlib.chdir(self.path):
            yield

    # -- what it was started for

    def make(self, command: Sequence[str]) -> None:
        """Make the folder for a keeper of this command."""
        self.path.mkdir(parents=True, mode=0o700)
        (self.path / COMMAND).write_text(self._purpose(command))
        (self.path / HOST).write_text(_this_host())

    def made_for(self, command: Sequence[str]) -> bool:
        """Return True if the keeper was started for this command, kit and protocol version."""
        try:
            return (self.path / COMMAND).read_text() == self._purpose(command)
        except FileNotFoundError:  # no keeper was started in this folder
            return False

    def _purpose(self, command: Sequence[str]) -> str:
        return json.dumps({"protocol": PROTOCOL, "kit": self._kit, "command": list(command)})

    def last_words(self) -> str:
        """Return the last line of the keeper's log."""
        try:
            lines = (self.path / LOG).read_text(errors="replace").split("\n")
        except FileNotFoundError:  # the keeper has removed its folder
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    def clear(self) -> None:
        """Remove the folder of a keeper that has ended. The caller holds the lock."""
        if self.path.exists():
            shutil.rmtree(self.path)

    def clear_abandoned(self) -> None:
        """Remove the folders beside this one whose keepers were killed with their machine.

        Several hosts may share the disk: only folders of this host are touched.
        """
        for path in self.path.parent.iterdir():
            other = KeeperFolder(path)
            if path != self.path and path.suffix != ".lock" and other._is_abandoned():
                # Another process starts a keeper there, or has cleared it.
                with contextlib.suppress(OSError), other.locked(0.0):
                    if other._is_abandoned():
                        other.clear()

    def _is_abandoned(self) -> bool:
        try:
            host = (self.path / HOST).read_text()
            if host.split()[:1] != _this_host().split()[:1]:
                return False
            sock = self.connect() if host == _this_host() else None
        except OSError:  # unknown, or another user's
            return False
        if sock is not None:
            sock.close()
        return sock is None

    def end_keeper(self, sock: socket.socket) -> None:
        """End the keeper at the other end of a connection, and its agent.

        Raises
        ------
        OSError
            If the keeper cannot be ended.
        """
        if sys.platform != "linux":
            raise OSError("a keeper can be ended from outside on Linux only")
        pid = _peer(sock)
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:  # it has just ended
            return
        try:
            # The process id may have been reused before the descriptor was opened. If a new
            # connection has the same peer, the descriptor belongs to the keeper.
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
                if ended.poll(KEEPER_END_SECONDS * 1000):
                    return
            raise TimeoutError(f"process {pid} does not end")
        except ProcessLookupError:  # it has just ended
            return
        finally:
            os.close(process)


def _this_host() -> str:
    """Return the host's name and the id of its present boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        boot = ""
    return f"{platform.node()} {boot}"


def _peer(sock: socket.socket) -> int:
    """Return the process id of the listener at the other end."""
    if sys.platform != "linux":
        raise OSError("the peer of a socket is known on Linux only")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if pid <= 0 or uid != os.geteuid():
        raise PermissionError("the keeper is not a visible process of this user")
    return int(pid)
