"""The resumable stream: complete and in order over any connections."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from skygrid.worker.keeper.bridge import MARK, MarkSkipper
from skygrid.worker.limits import ACK_BYTES
from skygrid.worker.wire.stream import (
    Hello,
    RefusedError,
    ResumableStream,
    StreamError,
    StreamHost,
    read_hello,
    refusal,
)

SESSION = bytes(range(16))


class Wire:
    """A caller, a host, and the bytes between them. A cut loses these bytes."""

    def __init__(self) -> None:
        self._names = count()
        self.host = StreamHost()
        self.flying = [bytearray(), bytearray()]
        self.begun: list[bytes] = []
        """Sessions that the host has started, in order."""

        self.call()

    def call(self) -> None:
        """Start a new caller."""
        self.caller = ResumableStream(next(self._names).to_bytes(16, "big"))
        self.connect()

    def connect(self) -> None:
        """Start a new connection; bytes on the old one are lost."""
        for flying in self.flying:
            flying.clear()
        self._early: bytes | None = b""
        self.caller.connect()

    def end(self, side: int) -> ResumableStream | None:
        """Return the stream of side 0, the caller, or 1, the host; None before the first call."""
        return self.host.stream if side else self.caller

    @property
    def greeted(self) -> bool:
        """True if the host knows its caller."""
        return self._early is None

    def send(self, side: int) -> None:
        """Put the next packet of one end on the wire."""
        end = self.end(side)
        # Until it knows its caller, the host sends nothing on this connection.
        if end is not None and (side == 0 or self.greeted):
            self.flying[side] += end.outgoing()

    def deliver(self, side: int, count: int) -> None:
        """Deliver bytes of `side` to the other end."""
        portion = bytes(self.flying[side][:count])
        del self.flying[side][:count]
        try:
            if side == 0 and self._early is not None:
                portion = self._admit(portion)
            end = self.end(1 - side)
            if end is not None and (side == 1 or self.greeted):
                end.feed(portion)
        except StreamError:
            self.connect()

    def _admit(self, portion: bytes) -> bytes:
        assert self._early is not None
        self._early += portion
        hello = read_hello(self._early)
        if hello is None:
            return b""
        if self.host.admit(hello):
            self.begun.append(hello.session)
        assert self.host.stream is not None
        self.host.stream.connect()
        early, self._early = self._early, None
        return early

    def settle(self) -> None:
        """Send and deliver until nothing is left."""
        for _ in range(10_000):
            for side in (0, 1):
                end = self.end(side)
                if end is not None:
                    end.ping()
                self.send(side)
                self.deliver(side, len(self.flying[side]))
            ends = (self.caller, self.host.stream)
            settled = all(end is not None and end.settled for end in ends)
            if self.greeted and settled and not any(self.flying):
                return
        raise AssertionError("the ends never settle")


sides = st.sampled_from([0, 1])


class StreamMachine(RuleBasedStateMachine):
    """Writes, partial deliveries, cuts and new callers in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        # By side and session.
        self.written: defaultdict[tuple[int, bytes], bytes] = defaultdict(bytes)
        self.read: defaultdict[tuple[int, bytes], bytes] = defaultdict(bytes)
        self.ended: set[tuple[int, bytes]] = set()

    @rule(side=sides, data=st.binary(max_size=200), times=st.integers(1, 500))
    def write(self, side: int, data: bytes, times: int) -> None:
        end = self.wire.end(side)
        if end is not None:
            end.write(data * times)
            if (side, end.session) not in self.ended:
                self.written[side, end.session] += data * times

    @rule(side=sides)
    def end(self, side: int) -> None:
        end = self.wire.end(side)
        if end is not None:
            end.end()
            self.ended.add((side, end.session))

    @rule(side=sides)
    def send(self, side: int) -> None:
        self.wire.send(side)

    @rule(side=sides, count=st.integers(1, 100_000))
    def deliver(self, side: int, count: int) -> None:
        self.wire.deliver(side, count)

    @rule(side=sides)
    def ping(self, side: int) -> None:
        end = self.wire.end(side)
        if end is not None and self.wire.greeted:
            end.ping()

    @rule()
    def cut(self) -> None:
        self.wire.connect()

    @rule()
    def call(self) -> None:
        """End the caller's process and start another caller."""
        self.take(0)
        self.wire.call()

    @rule(side=sides)
    def take(self, side: int) -> None:
        end = self.wire.end(side)
        if end is not None:
            self.read[1 - side, end.session] += end.read()

    @rule(which=st.integers(0, 100))
    def come_back(self, which: int) -> None:
        """A caller that was replaced is refused and changes nothing."""
        past = self.wire.begun[:-1]
        if past:
            before = self.wire.host.stream
            with pytest.raises(RefusedError, match="taken over"):
                self.wire.host.admit(Hello(past[which % len(past)], which))
            assert self.wire.host.stream is before

    @invariant()
    def read_bytes_are_a_prefix_of_the_written_ones(self) -> None:
        for key, read in self.read.items():
            assert self.written[key].startswith(read)

    def teardown(self) -> None:
        self.wire.connect()
        self.wire.settle()
        session = self.wire.caller.session
        self.take(0)
        self.take(1)
        for side in (0, 1):
            end = self.wire.end(side)
            assert end is not None
            assert end.session == session
            assert self.read[side, session] == self.written[side, session]
            assert end.finished == ((1 - side, session) in self.ended)


StreamMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestStream = StreamMachine.TestCase


def test_data_is_sent_after_the_other_ends_hello() -> None:
    """No data is sent before the HELLO of the other end, which gives the offset."""
    end = ResumableStream(SESSION)
    end.connect()
    end.write(b"early")
    hello = end.outgoing()
    assert b"early" not in hello
    assert end.outgoing() == b""


def test_full_reports_too_much_waiting_data() -> None:
    """`full` is true from the bound on until the other end has acknowledged."""
    small, other = ResumableStream(SESSION, most_unsent=10), ResumableStream(SESSION)
    for end in (small, other):
        end.connect()
    other.feed(small.outgoing())
    small.feed(other.outgoing())
    small.write(b"x" * 10)
    small.ping()
    assert small.full
    for _ in ("the data", "the question"):
        other.feed(small.outgoing())
    small.feed(other.outgoing())
    assert not small.full
    assert other.read() == b"x" * 10


@given(st.binary(min_size=1, max_size=500))
@settings(deadline=None)
def test_noise_never_arrives_as_data(noise: bytes) -> None:
    """Bytes that are no packets never arrive as data."""
    end = ResumableStream(SESSION)
    end.connect()
    with suppress(StreamError):
        end.feed(noise)
    assert end.read() == b""


def test_the_end_of_another_stream_is_refused() -> None:
    """An end that acknowledges bytes that were never written is refused."""
    end, other = ResumableStream(SESSION), ResumableStream(SESSION)
    stranger = ResumableStream(SESSION)
    for one in (end, other):
        one.connect()
    other.feed(end.outgoing())
    end.feed(other.outgoing())
    other.write(b"abc")
    end.feed(other.outgoing())
    assert end.read() == b"abc"
    end.connect()
    stranger.connect()
    with pytest.raises(StreamError):
        stranger.feed(end.outgoing())


def test_an_old_caller_does_not_replace_the_current_one() -> None:
    """An unknown session that has received data belongs to another keeper and is refused."""
    host = StreamHost()
    assert host.admit(Hello(SESSION, 0))
    stream = host.stream
    with pytest.raises(RefusedError, match="its agent is gone"):
        host.admit(Hello(b"x" * 16, 5))
    assert host.stream is stream
    assert not host.admit(Hello(SESSION, 5))


def test_a_refusal_gives_its_reason() -> None:
    """The host's reason is in the caller's error, before and after a HELLO."""
    for greeted in (False, True):
        caller, other = ResumableStream(SESSION), ResumableStream(SESSION)
        caller.connect()
        other.connect()
        if greeted:
            caller.feed(other.outgoing())
        with pytest.raises(RefusedError, match="no room"):
            caller.feed(refusal("no room"))


def test_ends_of_two_sessions_are_refused() -> None:
    """A HELLO of another session ends the connection."""
    one, other = ResumableStream(SESSION), ResumableStream(b"x" * 16)
    one.connect()
    other.connect()
    with pytest.raises(StreamError, match="another session"):
        one.feed(other.outgoing())


@given(st.binary(max_size=300), st.binary(max_size=100), st.integers(1, 50))
def test_the_mark_is_found_after_noise(noise: bytes, said: bytes, portion: int) -> None:
    """Exactly the bytes after the first mark pass, in any portions."""
    skipper, got = MarkSkipper(), b""
    data = noise + MARK + said
    for start in range(0, len(data), portion):
        got += skipper.feed(data[start : start + portion])
    assert got == data[data.index(MARK) + len(MARK) :]
    assert skipper.found


def test_endless_noise_is_an_error() -> None:
    """Too many bytes without a mark raise an error."""
    skipper = MarkSkipper()
    assert skipper.feed(b"x" * 64 * 1024) == b""
    with pytest.raises(StreamError, match="no mark"):
        skipper.feed(b"x" * 1000)


def greeted_ends() -> tuple[ResumableStream, ResumableStream]:
    """Return two ends of a stream after their HELLOs."""
    one, other = ResumableStream(SESSION), ResumableStream(SESSION)
    one.connect()
    other.connect()
    other.feed(one.outgoing())
    one.feed(other.outgoing())
    return one, other


def test_data_is_acknowledged_with_the_answer() -> None:
    """An acknowledgement is sent with the next data, not by itself."""
    one, other = greeted_ends()
    one.write(b"question")
    other.feed(one.outgoing())
    assert other.outgoing() == b""
    other.write(b"answer")
    one.feed(other.outgoing())
    assert one.settled
    assert one.read() == b"answer"


def test_much_data_is_acknowledged_by_itself() -> None:
    """An end that only sends gets acknowledgements in time and keeps little data."""
    one, other = greeted_ends()
    one.write(b"x" * (4 * ACK_BYTES))
    while packet := one.outgoing():
        other.feed(packet)
        one.feed(other.outgoing())
    assert one.waiting < ACK_BYTES


def test_the_end_is_acknowledged_at_once() -> None:
    """The end of a stream is acknowledged without delay."""
    one, other = greeted_ends()
    one.write(b"last")
    one.end()
    while packet := one.outgoing():
        other.feed(packet)
    one.feed(other.outgoing())
    assert one.done
