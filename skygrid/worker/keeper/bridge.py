"""The bridge: a process on the node that connects standard input and output to the keeper's socket.

``python -m skygrid.worker.keeper.bridge --folder F [OPTION ...] [-- COMMAND ...]`` writes `MARK`
and then copies bytes in both directions until either side ends. It keeps no state: after it dies,
keeper and driver determine the lost bytes over the next bridge.

With a command it starts a keeper if none runs. A keeper that was started for another command or
from another kit (``--kit``) is ended first. Without a command it uses the running keeper, or exits
with `NO_KEEPER_EXIT`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from skygrid.worker.limits import BRIDGE_LOCK_SECONDS, KEEPER_START_SECONDS
from skygrid.worker.wire.stream import StreamError

from .code import NOT_READY_EXIT, is_intact, refuse
from .folder import LOG, POLL_SECONDS, KeeperFolder

READ_BYTES = 1 << 18
NO_KEEPER_EXIT = 75
"""EX_TEMPFAIL of sysexits.h: the folder has no keeper, or no longer has one."""

IO_ERROR_EXIT = 74
"""EX_IOERR of sysexits.h: a full disk, a folder of another user, ...; see standard error."""

KEEPER_FAILED_EXIT = 70
"""EX_SOFTWARE of sysexits.h: the keeper ended at its start; see standard error."""

MARK = b"\nskygrid-bridge-1\n"
"""First bytes of a bridge's output, because a login shell may print text before."""

MOST_NOISE = 64 * 1024


class KeeperFailedError(OSError):
    """The keeper ended at its start."""


class MarkSkipper:
    """Filter that removes everything up to the mark from the start of a connection's bytes."""

    def __init__(self, mark: bytes = MARK) -> None:
        self._mark = mark
        self.noise = bytearray()
        """Bytes before the mark."""

        self.found = False

    def feed(self, data: bytes) -> bytes:
        """Return the part of `data` after the mark.

        Raises
        ------
        StreamError
            If more than `MOST_NOISE` bytes have come without a mark.
        """
        if self.found:
            return data
        self.noise += data
        place = self.noise.find(self._mark)
        if place < 0:
            if len(self.noise) > MOST_NOISE + len(self._mark):
                raise StreamError(f"no mark in the first {len(self.noise)} bytes")
            return b""
        self.found = True
        rest = bytes(self.noise[place + len(self._mark) :])
        del self.noise[place:]
        return rest


def main() -> None:
    """Connect to the keeper and copy bytes until either side ends."""
    parser = argparse.ArgumentParser(prog="skygrid.worker.keeper.bridge")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--orphan-after", type=float, default=600.0)
    parser.add_argument("--lease", help="file that the keeper touches while it hears its driver")
    parser.add_argument("--kit", default="", help="what the agent's environment was made from")
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    # As an exception, so that cleanup code runs.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if args.command:
            _check_code(args.kit.rpartition("-")[2])
        options = ["--orphan-after", str(args.orphan_after)]
        if args.lease:
            options += ["--lease", args.lease]
        folder = KeeperFolder(args.folder, args.kit)
        sock = _reach(folder, options, args.command)
        if sock is None:
            sys.exit(NO_KEEPER_EXIT)
        # A connection that breaks ends the bridge; driver and keeper resume over another one.
        with sock, contextlib.suppress(ConnectionError):
            _write_all(1, MARK)
            copy(sock)
    except OSError as error:
        sys.stderr.write(f"skygrid: {error}\n")
        sys.exit(KEEPER_FAILED_EXIT if isinstance(error, KeeperFailedError) else IO_ERROR_EXIT)


def _check_code(key: str) -> None:
    """Exit with `NOT_READY_EXIT` if this node's copy of the code is damaged."""
    folder = Path(__file__).absolute().parents[3]
    # Elsewhere the code is that of an installed skygrid, which belongs to no kit.
    if folder.name == key and not is_intact(folder, key):
        sys.stderr.write(f"skygrid: the code in {folder} is damaged and is replaced\n")
        refuse(folder)
        sys.exit(NOT_READY_EXIT)


def _reach(
    folder: KeeperFolder, options: Sequence[str], command: Sequence[str]
) -> socket.socket | None:
    if not command:
        sock = folder.connect()
        if sock is not None or not folder.path.exists():
            return sock
    else:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
    # Another bridge may hold the lock while it starts a keeper.
    with folder.locked(BRIDGE_LOCK_SECONDS):
        sock = folder.connect()
        if sock is not None and command and not folder.made_for(command):
            with sock:
                folder.end_keeper(sock)
            sock = None
        if sock is None:
            folder.clear()
            if command:
                folder.clear_abandoned()
                sock = _start_keeper(folder, options, command)
        return sock


def _start_keeper(
    folder: KeeperFolder, options: Sequence[str], command: Sequence[str]
) -> socket.socket:
    folder.make(command)
    keeper = [sys.executable, "-P", "-m", f"{__package__}.keeper", "--folder", str(folder.path)]
    with (folder.path / LOG).open("ab") as log:
        # A session of its own, so that the keeper survives the end of this connection.
        process = subprocess.Popen(
            [*keeper, *options, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + KEEPER_START_SECONDS
    while (sock := folder.connect()) is None:
        if process.poll() is not None:
            reason = folder.last_words() or f"its exit code is {process.returncode}"
            folder.clear()
            raise KeeperFailedError(f"the keeper did not start: {reason}")
        if time.monotonic() > until:
            process.kill()
            raise TimeoutError(f"the keeper did not start within {KEEPER_START_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
    # The keeper outlives this process: a set return code keeps Popen from warning about that.
    # Copy bytes in both directions until one side ends.
    process.returncode = 0
    return sock


def copy(sock: socket.socket) -> None:
    """Copy both ways until one side ends."""
    # One thread for each direction: a keeper that does not read for a while may still write.
    threading.Thread(target=_copy_inward, args=(sock,), daemon=True).start()
    while data := sock.recv(READ_BYTES):
        _write_all(1, data)


def _copy_inward(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # a broken connection ends like a closed one
        while data := os.read(0, READ_BYTES):
            sock.sendall(data)
    with contextlib.suppress(OSError):  # the other direction has closed the socket
        sock.shutdown(socket.SHUT_RDWR)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main()
