"""The faulty proxy behaves as the tests expect."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.processes import wait_until
from tests.proxy import FaultProxy


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Server that returns everything and ends with its client."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(end: socket.socket) -> None:
        with end:
            try:
                while data := end.recv(65536):
                    end.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                end, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(end,), daemon=True))
            threads[-1].start()

    taker = threading.Thread(target=accept, daemon=True)
    taker.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in [taker, *threads]:
        thread.join(20)


def _client(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((proxy.address, proxy.port), timeout=20)


def _all(end: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        data = end.recv(65536)
        if not data:
            break
        got += data
    return bytes(got)


def test_bytes_pass_unchanged_and_are_counted(echo: tuple[str, int]) -> None:
    """Bytes and the end of the stream pass unchanged, and are counted each way."""
    payload = bytes(range(256)) * 4000
    with FaultProxy(*echo) as proxy, _client(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(payload,))
        sender.start()
        assert _all(client, len(payload)) == payload
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert (proxy.bytes_up, proxy.bytes_down) == (len(payload), len(payload))
        assert proxy.connections == 1
        wait_until(lambda: proxy.open_connections == 0, "the connection to be over")


def test_delay_is_one_way(echo: tuple[str, int]) -> None:
    """A round trip takes twice the delay."""
    with FaultProxy(*echo, delay=0.2) as proxy, _client(proxy) as client:
        start = time.monotonic()
        client.sendall(b"x")
        assert _all(client, 1) == b"x"
        assert time.monotonic() - start >= 0.4


def test_cut_resets_and_new_connections_work(echo: tuple[str, int]) -> None:
    """A cut resets open connections; new ones are served."""
    with FaultProxy(*echo) as proxy:
        with _client(proxy) as client:
            client.sendall(b"a")
            assert _all(client, 1) == b"a"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with _client(proxy) as client:
            client.sendall(b"b")
            assert _all(client, 1) == b"b"


def test_refuse_leaves_open_connections_alone(echo: tuple[str, int]) -> None:
    """While new connections are refused, open ones go on."""
    with FaultProxy(*echo) as proxy, _client(proxy) as client:
        client.sendall(b"a")
        assert _all(client, 1) == b"a"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            _client(proxy)
        client.sendall(b"b")
        assert _all(client, 1) == b"b"
        proxy.accept()
        with _client(proxy) as second:
            second.sendall(b"c")
            assert _all(second, 1) == b"c"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_corrupt_flips_one_bit(echo: tuple[str, int], direction: str) -> None:
    """Exactly one bit differs, at the given offset."""
    with FaultProxy(*echo) as proxy, _client(proxy) as client:
        proxy.corrupt(direction, 70_000)
        client.sendall(bytes(100_000))
        got = _all(client, 100_000)
        assert [i for i, byte in enumerate(got) if byte] == [70_000]
        assert (got[70_000], proxy.corrupted) == (1, 1)


def test_a_refusing_target_resets_the_client() -> None:
    """The client of a target that refuses connections sees a reset."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        target = closed.getsockname()
    # The reset can arrive before the client's own connect returns.
    with (
        FaultProxy(*target) as proxy,
        pytest.raises(ConnectionResetError),
        _client(proxy) as client,
    ):
        client.recv(1)


def test_close_ends_everything(echo: tuple[str, int]) -> None:
    """After close the proxy has no thread, no listener and no connection."""
    proxy = FaultProxy(*echo)
    with _client(proxy) as client:
        client.sendall(b"a")
        assert _all(client, 1) == b"a"
        proxy.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        _client(proxy)
    assert not proxy._thread.is_alive()
