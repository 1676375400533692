"""Frames: messages arrive complete in any portions, and damage raises an error."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.worker.limits import MAX_FRAME
from skygrid.worker.wire.frames import HEADER, FrameError, FrameReader, encode, take_frames
from skygrid.worker.wire.messages.exceptions import ClassName, ExceptionRecord, TaggedValue
from skygrid.worker.wire.messages.fields import MOST_IN_HAND, MOST_SECONDS
from skygrid.worker.wire.messages.from_agent import (
    AgentLog,
    Bye,
    FromAgent,
    Heartbeat,
    Pull,
    Returned,
)
from skygrid.worker.wire.messages.results import FitResult, Report, TypedNumber, WarningNote
from skygrid.worker.wire.messages.to_agent import BlobChunk, Recall, ToAgent

text = st.text(max_size=40)
count = st.integers(0, 2**40)
seconds = st.floats(-MOST_SECONDS, MOST_SECONDS)
lines = st.integers(-(2**31), 2**31 - 1)
score = st.floats(allow_nan=False) | st.builds(TypedNumber, text, text)
value = st.recursive(
    st.none() | st.booleans() | count | seconds | text,
    lambda parts: st.builds(TaggedValue, text, st.lists(parts, max_size=3).map(tuple), st.binary()),
    max_leaves=5,
)
exception = st.builds(
    ExceptionRecord,
    classes=st.lists(st.builds(ClassName, text, text, text), max_size=2).map(tuple),
    text=value,
    args=st.lists(value, max_size=2).map(tuple),
    attributes=st.dictionaries(text, value, max_size=2),
    cause=st.none() | count,
)
result = st.builds(
    FitResult,
    lease=count,
    candidate=count,
    slot=count,
    status=st.sampled_from(["scored", "failed", "raised"]),
    test_scores=st.none() | score | st.dictionaries(text, score, max_size=3),
    train_scores=st.none() | score,
    n_test_samples=count,
    fit_seconds=seconds,
    score_seconds=seconds,
    fit_error=st.none() | text,
    exception=st.lists(exception, max_size=2).map(tuple),
    warnings=st.lists(st.builds(WarningNote, text, text, text, lines), max_size=2).map(tuple),
)
message = st.one_of(
    st.builds(Pull, round=count, count=count),
    st.builds(Report, round=count, results=st.lists(result, max_size=3)),
    st.builds(Returned, round=count, leases=st.lists(count, max_size=5)),
    st.builds(
        Heartbeat, busy=count, running=st.lists(count), slots_bytes=count, load=seconds.map(abs)
    ),
    st.builds(AgentLog, text=text),
    st.just(Bye()),
)


def frame(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read(portions: Iterable[bytes], kind: Any = FromAgent) -> list[Any]:
    reader = FrameReader(kind)
    return [message for portion in portions for message in reader.feed(portion)]


@given(messages=st.lists(message, max_size=6), cuts=st.lists(st.integers(0, 4000)))
def test_messages_are_complete_however_the_stream_is_cut(
    messages: list[Any], cuts: list[int]
) -> None:
    stream = b"".join(map(encode, messages))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    portions = [stream[a:b] for a, b in pairwise(edges)]
    assert read(portions) == messages


@given(messages=st.lists(message, min_size=1, max_size=3))
def test_messages_are_read_byte_by_byte(messages: list[Any]) -> None:
    stream = b"".join(map(encode, messages))
    assert read(bytes([byte]) for byte in stream) == messages


@given(messages=st.lists(message, min_size=1, max_size=3), data=st.data())
def test_a_flipped_bit_gives_no_wrong_message(messages: list[Any], data: st.DataObject) -> None:
    stream = bytearray(b"".join(map(encode, messages)))
    bit = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8
    reader = FrameReader(FromAgent)
    read_so_far: list[Any] = []
    with suppress(FrameError):
        read_so_far.extend(reader.feed(bytes(stream)))
    assert read_so_far == messages[: len(read_so_far)]
    assert len(read_so_far) < len(messages)


@given(st.binary(min_size=1, max_size=200))
def test_noise_is_an_error_or_nothing(noise: bytes) -> None:
    with suppress(FrameError):
        assert read([noise]) == []


@given(st.binary(max_size=200))
def test_a_valid_frame_around_noise_is_an_error(noise: bytes) -> None:
    try:
        decoded = read([frame(noise)])
    except FrameError:
        return
    assert [msgspec.msgpack.encode(one) for one in decoded] == [noise]


@given(message, st.binary(min_size=1, max_size=20))
def test_bytes_behind_a_message_within_its_frame_are_an_error(one: Any, more: bytes) -> None:
    with pytest.raises(FrameError, match="not a message"):
        read([frame(msgspec.msgpack.encode(one) + more)])


@pytest.mark.parametrize("length", [MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_an_oversized_length_is_refused_by_its_header(length: int) -> None:
    with pytest.raises(FrameError, match="over the limit"):
        read([struct.pack("<II", length, 0)])


def test_a_large_length_alone_takes_no_memory() -> None:
    reader = FrameReader(FromAgent)
    tracemalloc.start()
    try:
        assert list(reader.feed(struct.pack("<II", MAX_FRAME, 0))) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_lengths_inside_a_payload_take_no_memory() -> None:
    payload = msgspec.msgpack.encode(Returned(round=0, leases=[]))
    assert payload.endswith(b"\x90")  # an array of none
    lie = payload[:-1] + b"\xdd" + struct.pack(">I", 2**32 - 1)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            read([frame(lie)])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(FrameError):
        read([frame(b"\x91" * 1_000_000)])


def test_text_that_is_not_utf8_is_an_error() -> None:
    payload = msgspec.msgpack.encode(AgentLog(text="ab")).replace(b"ab", b"\xff\xfe")
    with pytest.raises(FrameError, match="not a message"):
        read([frame(payload)])


def test_messages_of_the_other_side_are_an_error() -> None:
    with pytest.raises(FrameError, match="not a message"):
        read([encode(Recall(count=1))])
    with pytest.raises(FrameError, match="not a message"):
        read([encode(Bye())], ToAgent)


def test_a_wrong_type_within_a_message_is_an_error() -> None:
    with pytest.raises(FrameError, match="not a message"):
        read([frame(msgspec.msgpack.encode({"type": "pull", "round": "one", "count": 1}))])


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        encode(AgentLog(text="x" * MAX_FRAME))


def test_messages_before_the_damage_are_read() -> None:
    reader = FrameReader(FromAgent)
    found: list[Any] = []
    with pytest.raises(FrameError):
        found.extend(reader.feed(encode(Bye()) + b"\xff" * 8))
    assert found == [Bye()]


def test_a_chunk_of_a_blob_fits_into_a_frame() -> None:
    chunk = BlobChunk(digest="ab" * 32, size=2**40, offset=2**39, data=bytes(2**20))
    assert read([encode(chunk)], ToAgent) == [chunk]


@pytest.mark.parametrize("change", [{"slot": -1}, {"n_test_samples": 2**60}, {"lease": 2**64 - 1}])
def test_a_number_out_of_range_is_refused(change: dict[str, int]) -> None:
    """A count that fits no column of the journal raises an error while the frame is read."""
    honest = FitResult(lease=1, candidate=0, slot=0, status="scored", test_scores=0.5)
    reader = FrameReader(FromAgent)
    assert list(reader.feed(encode(Report(round=0, results=[honest]))))
    lie = msgspec.structs.replace(honest, **change)
    with pytest.raises(FrameError):
        list(reader.feed(encode(Report(round=0, results=[lie]))))


@given(st.lists(st.integers(0, 300), max_size=8), st.integers(1, 40))
def test_whole_frames_are_taken_as_they_are(counts: list[int], portion: int) -> None:
    """Frames are taken whole from any portions, and an incomplete frame stays."""
    frames = [encode(Recall(count=count)) for count in counts]
    stream = b"".join(frames) + encode(Recall(count=1))[:-1]
    buffer, taken = bytearray(), []
    for start in range(0, len(stream), portion):
        buffer += stream[start : start + portion]
        taken += take_frames(buffer)
    assert taken == frames
    assert bytes(buffer) == encode(Recall(count=1))[:-1]


def test_an_oversized_frame_is_refused_early() -> None:
    """A length above the limit is an error before the frame is complete."""
    with pytest.raises(FrameError, match="over the limit"):
        take_frames(bytearray(HEADER.pack(MAX_FRAME + 1, 0)))


@pytest.mark.parametrize(
    "message",
    [
        Returned(round=0, leases=[1] * (MOST_IN_HAND + 1)),
        Heartbeat(busy=0, running=[1] * (MOST_IN_HAND + 1), slots_bytes=0, load=0.0),
        Report(
            round=0,
            results=[FitResult(lease=0, candidate=0, slot=0, status="failed")] * (MOST_IN_HAND + 1),
        ),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_list_with_more_leases_than_a_node_can_hold_is_no_message(message: Any) -> None:
    """A list that would take many times its size in memory is refused."""
    with pytest.raises(FrameError, match="length <= 100000"):
        list(FrameReader(FromAgent).feed(encode(message)))
