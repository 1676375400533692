"""Orders and descriptors between a driver and its gateway."""

from __future__ import annotations

import os
import socket

from skygrid.nodes.gateway.lines import Lines


def test_objects_and_descriptors_arrive_in_order() -> None:
    """Each object arrives once and whole, and descriptors keep the order of their objects."""
    ours, theirs = (Lines(end) for end in socket.socketpair())
    with ours.socket, theirs.socket:
        numbers = []
        for number in range(3):
            reading, writing = os.pipe()
            ours.send({"number": number}, writing)
            ours.send({"between": "x" * 1000})
            os.close(writing)
            numbers.append(reading)
        for number, reading in enumerate(numbers):
            assert theirs.wait() == {"number": number}
            assert theirs.wait() == {"between": "x" * 1000}
            descriptor = theirs.descriptors.pop(0)
            os.write(descriptor, b"%d" % number)
            assert os.read(reading, 10) == b"%d" % number
            os.close(descriptor)
            os.close(reading)


def test_the_end_is_none() -> None:
    """After the other end has closed, there are no more objects."""
    ours, theirs = (Lines(end) for end in socket.socketpair())
    with theirs.socket:
        ours.socket.close()
        assert theirs.wait() is None
