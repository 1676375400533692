"""The driver's end of a node's channel never leaves the engine waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from skygrid.engine import link as link_module
from skygrid.engine.engine import UNLIMITED
from skygrid.engine.link import FREE_MESSAGES, MESSAGES_PER_SECOND, Link
from skygrid.engine.node_events import Event, Gone
from skygrid.engine.node_log import NodeLog
from skygrid.nodes.interface import Watcher
from skygrid.worker.limits import MAX_FIRST_FRAME
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.frames import encode
from skygrid.worker.wire.messages.from_agent import Heartbeat, Pull, Refusal
from tests.clocks import ManualClock
from tests.processes import WAIT_SECONDS, wait_until

BEAT = encode(Heartbeat(busy=0, running=[], slots_bytes=0, load=0.0))


class Talking:
    """Transport that delivers the given bytes."""

    shares_files = False

    def __init__(self, says: Callable[[], Iterator[bytes]]) -> None:
        self._says = says()
        self._closed = threading.Event()

    def start(self) -> None: ...
    def write(self, data: bytes) -> None: ...

    def read(self) -> bytes:
        return next(self._says, b"")

    def read_log(self) -> bytes:
        self._closed.wait(WAIT_SECONDS)
        return b""

    def ended(self) -> str:
        return "exit code 0"

    def error(self) -> None:
        return None

    def close(self) -> None:
        self._closed.set()


@pytest.fixture
def connect() -> Iterator[Callable[..., Callable[[], Event]]]:
    """Return a function that connects to a node and returns a wait for its next event."""
    links: list[Link] = []

    def connect(says: Callable[[], Iterator[bytes]], clock: ManualClock) -> Callable[[], Event]:
        def make(name: str, watcher: Watcher) -> Any:
            return Talking(says)

        inbox: SimpleQueue[Event | None] = SimpleQueue()
        links.append(Link("node-1", make, inbox, NodeLog(), clock))
        links[-1].start()

        def next_event() -> Event:
            event = inbox.get(timeout=WAIT_SECONDS)
            assert event is not None
            if not isinstance(event.message, UNLIMITED):
                event.link.took(event)
            return event

        return next_event

    yield connect
    for link in links:
        link.close()


def all_until_gone(next_event: Callable[[], Event]) -> tuple[list[Any], Gone]:
    messages = []
    while not isinstance(message := next_event().message, Gone):
        messages.append(message)
    return messages, message


def test_a_schema_that_cannot_be_made_loses_the_node(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error before the first byte is reported as the loss of the node, with its reason."""

    def reader(kind: Any) -> Any:
        raise TypeError("two messages have one tag")

    monkeypatch.setattr(link_module, "FrameReader", reader)
    messages, gone = all_until_gone(connect(lambda: iter([BEAT]), ManualClock()))
    assert messages == []
    assert gone.reason == "its messages could not be read: TypeError: two messages have one tag"


def test_messages_of_a_node_are_limited_per_second(connect: Callable[..., Any]) -> None:
    """A node is dropped when it sends more messages per second than its allowance."""
    clock, pull = ManualClock(), encode(Pull(round=0, count=1))
    later = int(7 * MESSAGES_PER_SECOND)

    def says() -> Iterator[bytes]:
        yield pull * FREE_MESSAGES
        clock.advance(7.0)
        yield pull * later
        yield pull

    messages, gone = all_until_gone(connect(says, clock))
    assert len(messages) == FREE_MESSAGES + later
    assert gone.reason == "it sent far more messages than its work needs"


def test_a_large_message_before_the_greeting_loses_the_node(connect: Callable[..., Any]) -> None:
    """A node whose greeting was not accepted cannot make the driver decode megabytes."""
    large = encode(Refusal(reason="x" * MAX_FIRST_FRAME))
    messages, gone = all_until_gone(connect(lambda: iter([large]), ManualClock()))
    assert messages == []
    assert "is over the limit of 1048576" in gone.reason
    assert gone.at_fault


class Uploading(Talking):
    """Transport that uploads data until the test lets it end."""

    def __init__(self) -> None:
        super().__init__(self._silence)
        self.begun, self.may_end = threading.Event(), threading.Event()

    def _silence(self) -> Iterator[bytes]:
        self._closed.wait(WAIT_SECONDS)
        yield b""

    def url_of(self, blob: Blob) -> str:
        self.begun.set()
        self.may_end.wait(WAIT_SECONDS)
        return "http://127.0.0.1/data"


def test_an_upload_is_no_silence_of_the_node() -> None:
    """While data is uploaded, the time in which the node has to become ready does not count."""
    far = Uploading()
    inbox: SimpleQueue[Event | None] = SimpleQueue()
    link = Link("node-1", lambda name, watcher: far, inbox, NodeLog(), ManualClock())
    link.start()
    try:
        link.send_blob(Blob({"X": 1}), offered=True)
        assert far.begun.wait(WAIT_SECONDS)
        assert link.uploads
        far.may_end.set()
        wait_until(lambda: not link.uploads, "the end of the upload")
    finally:
        far.may_end.set()
        link.close()
