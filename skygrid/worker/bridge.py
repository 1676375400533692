"""The bridge: what runs at the far end of a connection, between it and the keeper's socket.

``python -m skygrid.worker.bridge --folder F [--orphan-after S -- COMMAND ...]`` copies its standard
input to the keeper's socket, and what comes from there to its standard output, until either ends.
With a command, and no keeper in the folder, it starts one first. It keeps nothing: when it dies,
keeper and driver agree over the next one on what was lost.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .keeper import LOG, SOCKET

READ_BYTES = 1 << 18
START_SECONDS = 30.0
"""How long a keeper may take until its socket is there."""

NO_KEEPER_EXIT = 75
"""EX_TEMPFAIL of sysexits.h: there is no keeper in the folder (any more)."""


def main() -> None:
    """Connect, copy, end."""
    parser = argparse.ArgumentParser(prog="skygrid.worker.bridge")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--orphan-after", type=float, default=600.0)
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    if args.command and not args.folder.exists():
        _start_keeper(args.folder, args.orphan_after, args.command)
    copy(_connected(args.folder / SOCKET))


def _start_keeper(folder: Path, orphan_after: float, command: Sequence[str]) -> None:
    folder.mkdir(parents=True, mode=0o700)
    keeper = [sys.executable, "-P", "-m", f"{__package__}.keeper", "--folder", str(folder)]
    with (folder / LOG).open("ab") as log:
        # A session of its own: the end of this connection is not the end of the keeper.
        subprocess.Popen(
            [*keeper, "--orphan-after", str(orphan_after), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _connected(path: Path) -> socket.socket:
    until = time.monotonic() + START_SECONDS
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            if not path.parent.exists() or time.monotonic() > until:
                sys.exit(NO_KEEPER_EXIT)
            time.sleep(0.02)
        else:
            return sock


def copy(sock: socket.socket) -> None:
    """Copy both ways until one side ends."""
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(sock, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                data = os.read(0, READ_BYTES)
                if not data:
                    return
                sock.sendall(data)
            else:
                data = sock.recv(READ_BYTES)
                if not data:
                    return
                _write_all(1, data)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main()
