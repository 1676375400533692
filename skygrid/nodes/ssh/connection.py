"""An authenticated connection to a host, through its jump hosts."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import paramiko

from skygrid.config import limits
from skygrid.util.terminal import printable

from .failures import (
    HostError,
    UnreachableError,
    key_refused,
    more_than_a_key,
    of_jump,
    too_many_keys,
    unreachable,
    unreachable_through,
)
from .host_keys import KnownHosts
from .keys import Keys
from .targets import Target

LOGGER = logging.getLogger(__name__)

# paramiko also logs the errors that it raises; without a handler Python would print them.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

WINDOW_BYTES = 32 * 1024 * 1024
"""Receive window. 2 MiB would limit the rate to 18 MB/s at a round trip of 80 ms."""

NEWCOMERS = 8
"""Maximum number of parallel logins to one host."""

GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


class _FastTransport(paramiko.Transport):
    """Transport that prefers AES-GCM, which is 1.5 times as fast as AES-CTR with a separate
    checksum."""

    _preferred_ciphers = (
        *GCM,
        *(name for name in paramiko.Transport._preferred_ciphers if name not in GCM),  # type: ignore[attr-defined]
    )

    # Wake-up interval of an idle transport thread, in seconds. paramiko's 0.1 s serves unused
    # timers.
    _active_check_timeout = 1.0

    def __init__(self, sock: socket.socket, known: KnownHosts, **options: Any) -> None:
        super().__init__(sock, **options | {"default_window_size": WINDOW_BYTES})
        self._known = known
        self.farewell = ""
        """Reason that the host gave when it ended the connection."""

        security = self.get_security_options()
        security.key_types = known.in_order(security.key_types)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        return self._known.certificates_first(super().preferred_keys)

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()  # the code of RFC 4253, section 11.1
        self.farewell = m.get_text()


class _LoginLimit:
    """Limit of parallel logins of this process to one address.

    From ten pending logins on, sshd refuses some (MaxStartups of sshd_config(5)). Many hosts behind
    one jump host would cause that.
    """

    def __init__(self, room: int) -> None:
        self._most = room
        self._lock = threading.Lock()
        self._semaphores: dict[tuple[str, int], threading.Semaphore] = {}

    def __call__(self, target: Target) -> threading.Semaphore:
        """Return the semaphore to hold during a login to a host."""
        with self._lock:
            address = (target.host, target.port)
            return self._semaphores.setdefault(address, threading.Semaphore(self._most))


_login_limit = _LoginLimit(NEWCOMERS)


class Connection:
    """A connection to a host, open from the start.

    Parameters
    ----------
    target : Target
    socket_seconds : float, default=15
        Time limit for the TCP connection to the first host.

    Raises
    ------
    HostError
        If the host cannot be used without a change: an unknown host key, a refused key.
    OSError
        If the connection fails for a reason that may pass.
    """

    def __init__(self, target: Target, socket_seconds: float = limits.SSH_STEP) -> None:
        self.target = target
        self._socket_seconds = socket_seconds
        self._open: list[paramiko.SSHClient] = []
        LOGGER.debug("connecting to %s: %s port %d", target.spelled, target.host, target.port)
        try:
            for stage in target.jumps:
                self._open_jump(stage)
            self._open_stage(target)
        except BaseException as error:
            LOGGER.debug("no connection to %s: %s", target.spelled, error)
            self.close()
            raise

    def _open_jump(self, jump: Target) -> None:
        try:
            self._open_stage(jump)
        except (HostError, UnreachableError) as error:
            raise of_jump(jump, error) from error

    def _open_stage(self, stage: Target) -> None:
        with _login_limit(stage):
            self._open.append(_connected(stage, self._socket_to(stage)))

    def _socket_to(self, stage: Target) -> Any:
        """Return a socket, or a channel through the previous host, to this stage."""
        if not self._open:
            try:
                sock = _connected_socket(stage, self._socket_seconds)
                # As in OpenSSH: small packets must not wait for acknowledgements.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                raise unreachable(stage, error) from error
            return sock
        with _failures(stage):
            try:
                return self._transport.open_channel(
                    "direct-tcpip",
                    (stage.host, stage.port),
                    ("127.0.0.1", 0),
                    timeout=limits.SSH_STEP,
                )
            except paramiko.ChannelException as error:
                jump = self.target.jumps[len(self._open) - 1]
                raise unreachable_through(jump, stage, error) from error

    @property
    def _transport(self) -> paramiko.Transport:
        transport = self._open[-1].get_transport()
        if transport is None:
            raise ConnectionResetError("the connection was closed")
        return transport

    def execute(self, command: str) -> paramiko.Channel:
        """Start a command and return its channel.

        Raises
        ------
        OSError
            If the connection is broken or the host opens no further channel.
        """
        with _failures(self.target):
            channel = self._transport.open_session(timeout=limits.SSH_STEP)
            channel.settimeout(limits.SSH_STEP)
            channel.exec_command(command)
        return channel

    def close(self) -> None:
        """Close the connection and its jump connections."""
        for client in reversed(self._open):
            # Closing a connection whose jump host is gone raises.
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                client.close()


def _connected_socket(target: Target, seconds: float) -> socket.socket:
    host, source = target.host, None
    if target.family != socket.AF_UNSPEC:
        host = str(socket.getaddrinfo(host, target.port, target.family)[0][4][0])
    if target.bind_address is not None:
        source = (target.bind_address, 0)
    return socket.create_connection((host, target.port), seconds, source)


def _connected(target: Target, way: Any) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    try:
        known = KnownHosts(target)
        client.set_missing_host_key_policy(known)
        keys = Keys(target)
        with _failures(target), _login_failures(target, keys, client):
            client.connect(
                target.host,
                target.port,
                username=target.user,
                sock=way,
                timeout=limits.SSH_STEP,
                banner_timeout=limits.SSH_STEP,
                auth_timeout=limits.SSH_STEP,
                channel_timeout=limits.SSH_STEP,
                auth_strategy=keys,
                transport_factory=functools.partial(_FastTransport, known=known),
            )
    except BaseException:
        client.close()
        way.close()
        raise
    return client


@contextlib.contextmanager
def _login_failures(target: Target, keys: Keys, client: paramiko.SSHClient) -> Iterator[None]:
    """Convert the failure of a login into an error that tells the user what to do."""
    try:
        yield
    except paramiko.AuthenticationException as error:
        transport = client.get_transport()
        farewell = transport.farewell if isinstance(transport, _FastTransport) else ""
        if keys.further:
            raise more_than_a_key(target, keys.further) from error
        if farewell:
            raise too_many_keys(target, printable(farewell)) from error
        raise key_refused(target, keys.offered, keys.locked) from error


@contextlib.contextmanager
def _failures(target: Target) -> Iterator[None]:
    """Convert paramiko's exceptions into errors that tell the user what to do."""
    try:
        yield
    except (HostError, UnreachableError):
        raise
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise unreachable(target, error) from error
