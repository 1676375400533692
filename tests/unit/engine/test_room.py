"""Messages of a node wait in limited room, in number and in bytes."""

from __future__ import annotations

import pytest

from skygrid.engine.room import Room


@pytest.mark.parametrize("sizes", [[1, 1, 1], [6, 4]], ids=["number", "bytes"])
def test_a_full_room_takes_no_message(sizes: list[int]) -> None:
    """At either limit no message fits until another one has left."""
    room = Room(most_messages=3, most_bytes=10)
    assert all(room.take(size, timeout=0.0) for size in sizes)
    assert not room.take(1, timeout=0.0)
    room.give_back(sizes[0])
    assert room.take(1, timeout=0.0)


def test_a_message_larger_than_the_room_fits_alone() -> None:
    """A message above the limit is taken when no other one waits."""
    room = Room(most_messages=3, most_bytes=10)
    assert room.take(99, timeout=0.0)
    assert not room.take(0, timeout=0.0)
    room.give_back(99)
    assert room.take(10, timeout=0.0)
