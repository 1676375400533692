"""Orders of an agent to its slots to load a round."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import IO

import msgspec

BLOBS = ("data", "search", "plan")
"""Blobs of a round, in the order of the parameters of `work.load_round`."""

ORDER_BYTES = 8192
"""Bytes to read for an order; no order is longer, because a path has at most 4,096 bytes."""


class RoundOrder(msgspec.Struct, frozen=True):
    """Order of an agent to its slots to load a round, sent with the files of its blobs."""

    round: int
    slots: int
    folder: str | None
    """Folder that the node's slots share; None: none."""

    sizes: tuple[int, ...]
    """Bytes in each of the `BLOBS`. Empty: drop the last round and load none."""


def send_order(orders: socket.socket, order: RoundOrder, files: Sequence[IO[bytes]]) -> None:
    """Send an order and its open files; see SCM_RIGHTS in unix(7)."""
    socket.send_fds(orders, [msgspec.msgpack.encode(order)], [file.fileno() for file in files])


def receive_order(orders: socket.socket) -> tuple[RoundOrder, list[tuple[IO[bytes], int]]]:
    """Receive the next order, and each of its files with the size of its blob in bytes."""
    payload, descriptors, _, _ = socket.recv_fds(orders, ORDER_BYTES, len(BLOBS))
    order = msgspec.msgpack.decode(payload, type=RoundOrder)
    files = [os.fdopen(descriptor, "rb") for descriptor in descriptors]
    return order, list(zip(files, order.sizes, strict=True))
