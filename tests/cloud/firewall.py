"""Port 22 of an instance's address, filtered by its security groups.

A refused caller gets no answer, as on AWS. The kernel drops connection requests when a listener's
queue is full, so a closed gate fills its own queue and accepts nothing.
"""

from __future__ import annotations

import ipaddress
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Rule:
    """One ingress rule: a range of ports of a protocol, from a block of addresses."""

    protocol: str
    first_port: int | None
    last_port: int | None
    cidr: str


def lets_in(rules: Iterable[Rule], address: str, port: int) -> bool:
    """Return whether one of these rules admits TCP from this address to this port."""
    caller = ipaddress.ip_address(address)
    for rule in rules:
        if rule.protocol not in {"tcp", "-1"}:
            continue
        if rule.protocol == "tcp" and not (
            rule.first_port is not None
            and rule.last_port is not None
            and rule.first_port <= port <= rule.last_port
        ):
            continue
        if caller in ipaddress.ip_network(rule.cidr, strict=False):
            return True
    return False


class Gate:
    """Port 22 of `address`, relayed to port 22 of `target` for admitted callers.

    Parameters
    ----------
    address, target : str
    caller : callable
        Returns the current address of callers. A connection stays bound to the address it was made
        from: it goes silent while the caller has another one.
    admits : callable
        Returns whether an address may connect now.
    jump_only : bool
        True if only connections made by an sshd pass, that is, a jump host's forwarding.
    """

    def __init__(
        self,
        address: str,
        target: str,
        *,
        caller: Callable[[], str],
        admits: Callable[[str], bool],
        jump_only: bool = False,
    ) -> None:
        self._target = target
        self._caller = caller
        self._admits = admits
        self._jump_only = jump_only
        self._address = (address, 22)
        self._fillers: list[socket.socket] = []
        self._ignored: list[socket.socket] = []
        self._open: set[_Relay] = set()
        self._lock = threading.RLock()
        self._closed = False
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind(self._address)
        except OSError as error:
            raise RuntimeError(
                f"{address}:22 cannot be had ({error.strerror}): is an sshd of this machine "
                "listening on every address? Stop it, or have it listen on one"
            ) from error
        self._wake_read, self._wake_write = socket.socketpair()
        self._is_open = self._frozen = False
        self._listener.listen(0)
        self._listener.setblocking(False)
        self._fill()
        self.update()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def update(self) -> None:
        """Apply the current rules and the caller's current address."""
        with self._lock:
            if self._closed:
                return
            caller = self._caller()
            wanted = self._admits(caller) and not self._frozen
            for relay in self._open:
                relay.silence(self._frozen or relay.caller != caller)
            if wanted != self._is_open:
                self._is_open = wanted
                self._listener.listen(128 if wanted else 0)
                if not wanted:
                    self._fill()
            self._wake_write.send(b"\0")

    def _fill(self) -> None:
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._address)
            self._fillers.append(filler)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            watching = False
            while not self._closed:
                if watching != self._is_open:
                    watching = self._is_open
                    if watching:
                        selector.register(self._listener, selectors.EVENT_READ)
                    else:
                        selector.unregister(self._listener)
                for key, _ in selector.select():
                    if key.fileobj is self._wake_read:
                        self._wake_read.recv(4096)
                    elif self._is_open:
                        self._take()

    def _take(self) -> None:
        with suppress(OSError):
            client, peer = self._listener.accept()
            own = {filler.getsockname() for filler in self._fillers}
            if peer in own:
                client.close()
                return
            self._drop_fillers()
            if self._jump_only and not made_by_sshd(peer):
                # A private address has no route from outside the network.
                self._ignored.append(client)
                return
            self._relay(client)

    def _relay(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((self._target, 22), timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        client.setblocking(True)
        with self._lock:
            relay = _Relay(client, server, self._caller(), self._open.discard)
            self._open.add(relay)
        relay.start()

    def _drop_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def freeze(self) -> None:
        """Stop answering, on open and on new connections: the machine is dead."""
        with self._lock:
            self._frozen = True
            self.update()

    def cut(self) -> None:
        """Close every connection; new ones are accepted."""
        with self._lock:
            for relay in list(self._open):
                relay.end()

    def close(self) -> None:
        """Close the listener and every connection."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._wake_write.send(b"\0")
        self._thread.join()
        self.cut()
        self._drop_fillers()
        for end in (*self._ignored, self._listener, self._wake_read, self._wake_write):
            end.close()


class _Relay:
    """One connection, copied by two threads."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        caller: str,
        forget: Callable[[_Relay], None],
    ) -> None:
        self.caller = caller
        self._client, self._server = client, server
        self._forget = forget
        self._flowing = threading.Event()
        self._flowing.set()
        self._left = 2
        self._lock = threading.Lock()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for source, target in (
            (self._client, self._server),
            (self._server, self._client),
        ):
            threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def silence(self, silent: bool) -> None:
        """Stop the flow of bytes, or let it continue."""
        if silent:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flowing.wait()
                target.sendall(data)
        self._flowing.wait()
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._client.close()
            self._server.close()
            self._forget(self)

    def end(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._flowing.set()


def made_by_sshd(peer: tuple[str, int]) -> bool:
    """Return whether an sshd process holds the socket with this local address."""
    for connection in psutil.net_connections("tcp4"):
        if connection.laddr and tuple(connection.laddr) == peer and connection.pid:
            with suppress(OSError):
                name = Path(f"/proc/{connection.pid}/comm").read_text().strip()
                return name.startswith("sshd") or os.path.basename(name) == "sshd"
    return False
