"""The stream that outlives its connections: whole and in order, whatever the connections do."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from skygrid.worker.stream import ResumableStream, StreamError


class Wire:
    """Two ends, and what is on its way between them. A cut loses all of it."""

    def __init__(self) -> None:
        self.ends = (ResumableStream(), ResumableStream())
        self.flying = [bytearray(), bytearray()]
        self.connect()

    def connect(self) -> None:
        """A new connection; what flew on the old one is lost."""
        for end, flying in zip(self.ends, self.flying, strict=True):
            flying.clear()
            end.connect()

    def send(self, side: int) -> None:
        """One end puts its next packet on the wire."""
        self.flying[side] += self.ends[side].outgoing()

    def deliver(self, side: int, count: int) -> None:
        """Bytes that `side` sent reach the other end."""
        portion = bytes(self.flying[side][:count])
        del self.flying[side][:count]
        try:
            self.ends[1 - side].feed(portion)
        except StreamError:
            self.connect()

    def settle(self) -> None:
        """Everything that can be sent and delivered is."""
        for _ in range(10_000):
            for side in (0, 1):
                self.send(side)
                self.deliver(side, len(self.flying[side]))
            if all(end.settled for end in self.ends) and not any(self.flying):
                return
        raise AssertionError("the ends never settle")


sides = st.sampled_from([0, 1])


class StreamMachine(RuleBasedStateMachine):
    """Writes, partial deliveries, cuts and flipped bits in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.written = [b"", b""]
        self.read = [b"", b""]
        self.ended = [False, False]

    @rule(side=sides, data=st.binary(max_size=200), times=st.integers(1, 500))
    def write(self, side: int, data: bytes, times: int) -> None:
        self.wire.ends[side].write(data * times)
        if not self.ended[side]:
            self.written[side] += data * times

    @rule(side=sides)
    def end(self, side: int) -> None:
        self.wire.ends[side].end()
        self.ended[side] = True

    @rule(side=sides)
    def send(self, side: int) -> None:
        self.wire.send(side)

    @rule(side=sides, count=st.integers(1, 100_000))
    def deliver(self, side: int, count: int) -> None:
        self.wire.deliver(side, count)

    @rule(side=sides)
    def ping(self, side: int) -> None:
        self.wire.ends[side].ping()

    @rule()
    def cut(self) -> None:
        self.wire.connect()

    @rule(side=sides, place=st.integers(0, 10_000), bit=st.integers(0, 7))
    def flip(self, side: int, place: int, bit: int) -> None:
        if self.wire.flying[side]:
            self.wire.flying[side][place % len(self.wire.flying[side])] ^= 1 << bit

    @rule(side=sides)
    def take(self, side: int) -> None:
        self.read[1 - side] += self.wire.ends[side].read()

    @invariant()
    def what_is_read_is_a_beginning_of_what_was_written(self) -> None:
        for written, read in zip(self.written, self.read, strict=True):
            assert written.startswith(read)

    def teardown(self) -> None:
        self.wire.connect()
        self.wire.settle()
        for side in (0, 1):
            self.take(side)
        assert self.read == self.written
        assert [end.finished for end in self.wire.ends] == self.ended[::-1]


StreamMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestStream = StreamMachine.TestCase


def test_nothing_of_the_stream_leaves_before_the_other_end_has_spoken() -> None:
    """Only then is it known from where to go on."""
    end = ResumableStream()
    end.connect()
    end.write(b"early")
    hello = end.outgoing()
    assert b"early" not in hello
    assert end.outgoing() == b""


def test_a_writer_is_told_when_too_much_waits() -> None:
    """`full` holds from the bound on, and no longer once the other end has acknowledged."""
    wire = Wire()
    small = ResumableStream(most_unsent=10)
    small.connect()
    wire.ends = (small, wire.ends[1])
    small.write(b"x" * 10)
    assert small.full
    wire.settle()
    assert not small.full
    assert wire.ends[1].read() == b"x" * 10


@given(st.binary(min_size=1, max_size=500))
@settings(deadline=None)
def test_noise_is_refused_or_waited_for(noise: bytes) -> None:
    """Bytes that are no packets never get through as data."""
    end = ResumableStream()
    end.connect()
    with suppress(StreamError):
        end.feed(noise)
    assert end.read() == b""


def test_an_other_end_that_knows_another_stream_is_refused() -> None:
    """An end that claims bytes which were never written is not the other end of this stream."""
    end, other = ResumableStream(), ResumableStream()
    stranger = ResumableStream()
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
