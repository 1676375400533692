"""Data that nodes fetch by a URL, from a server with faults."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from skygrid.nodes.interface import Transport
from skygrid.worker.wire.blobs import Blob
from tests.integration.test_node_data import Counting, FarNodes, blobs, large, run


class Store:
    """Server with one blob."""

    def __init__(self) -> None:
        self.ranges: list[str] = []
        """Requested ranges, one for each request; empty for the whole blob."""

        self.break_after: list[int] = []
        """Number of bytes after which an answer breaks, one for each answer."""

        self.status: int | None = None
        self.ignore_range = False
        self.content = b""
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/blob"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.ranges.append(wanted)
        if self.status is not None:
            request.send_error(self.status)
            return
        begin = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        begin = 0 if self.ignore_range else begin
        data = self.content[begin:]
        request.send_response(206 if begin else 200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        most = self.break_after.pop(0) if self.break_after else len(data)
        request.wfile.write(data[:most])
        request.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Fetching(FarNodes):
    """Nodes whose data is in a store."""

    def __init__(self, store: Store, *caches: Path) -> None:
        super().__init__(*caches)
        self.store = store

    def transport(self, name: str, watcher: Any) -> Transport:
        far = super().transport(name, watcher)
        assert isinstance(far, Counting)
        far.url_of = self._url_of  # type: ignore[method-assign]
        return far

    def _url_of(self, blob: Blob) -> str:
        self.store.content = self.store.content or b"".join(
            bytes(data) for _, data in blob.chunks()
        )
        return self.store.url


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


def test_data_is_fetched_and_not_sent(store: Store, tmp_path: Path) -> None:
    """Data that a node can fetch is not sent over its connection, and is kept in its cache."""
    nodes = Fetching(store, tmp_path)
    run(nodes, *large())
    assert nodes.far[0].offsets == []
    assert store.ranges == [""]
    assert len(blobs(tmp_path)) == 1


def test_cached_data_is_not_fetched(store: Store, tmp_path: Path) -> None:
    """A node that has the data from an earlier run sends no request."""
    run(Fetching(store, tmp_path), *large())
    run(Fetching(store, tmp_path), *large())
    assert store.ranges == [""]


def test_a_broken_fetch_resumes(store: Store, tmp_path: Path) -> None:
    """A broken answer is continued by a request of a range."""
    store.break_after = [1_000_000, 500_000]
    nodes = Fetching(store, tmp_path)
    run(nodes, *large())
    assert nodes.far[0].offsets == []
    starts = [text.removeprefix("bytes=").split("-")[0] for text in store.ranges]
    assert starts == ["", "1000000", "1500000"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refused_fetch_is_sent_instead(store: Store, tmp_path: Path, status: int) -> None:
    """If the URL does not work, the driver sends the data."""
    store.status = status
    nodes = Fetching(store, tmp_path)
    run(nodes, *large())
    assert nodes.far[0].offsets[0] == 0
    assert len(store.ranges) == 1


def test_wrong_bytes_are_sent_instead(store: Store, tmp_path: Path) -> None:
    """Fetched bytes with another digest are not used."""
    X, y = large()
    content = b"".join(bytes(data) for _, data in Blob({"X": X}).chunks())
    store.content = b"\0" * (len(content) * 2)
    nodes = Fetching(store, tmp_path)
    run(nodes, X, y)
    assert nodes.far[0].offsets[0] == 0


def test_bytes_before_a_refusal_are_not_sent_again(store: Store, tmp_path: Path) -> None:
    """After a broken answer of a server without ranges, the driver sends the rest only."""
    store.break_after = [1_000_000]
    store.ignore_range = True
    nodes = Fetching(store, tmp_path)
    run(nodes, *large())
    assert nodes.far[0].offsets[0] == 1_000_000
