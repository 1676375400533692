"""Frames: how messages are cut out of a stream of bytes, on both sides of it.

One frame is a header of eight bytes, two little-endian 32-bit unsigned integers, and a payload:

    length of the payload | CRC-32 of the payload (as in RFC 1952) | payload

It is the one checksum between driver and agent, over pipes and every kind of connection. It finds
what a transport broke; it does not keep out a node that means harm. A length above the limit, or a
checksum that does not fit, ends the stream: the next frame cannot be found.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

HEADER = struct.Struct("<II")

MAX_FRAME = 8 * 1024 * 1024
"""Bytes in the largest payload that either side accepts."""


class FrameError(Exception):
    """The stream holds something that is not a frame, or not a message of the protocol."""


_encoder = msgspec.msgpack.Encoder()


def encode(message: Any) -> bytes:
    """One message as one frame.

    Parameters
    ----------
    message : msgspec.Struct
        One of the messages in `messages`.

    Returns
    -------
    frame : bytes

    Raises
    ------
    FrameError
        If the encoded message is longer than `MAX_FRAME`.
    """
    payload = _encoder.encode(message)
    if len(payload) > MAX_FRAME:
        raise FrameError(f"a message of {len(payload)} bytes is over the limit of {MAX_FRAME}")
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def take_frames(buffer: bytearray) -> list[bytes]:
    """Take whole frames, with their headers, off the beginning of a buffer; none is decoded.

    Parameters
    ----------
    buffer : bytearray
        Keeps what is no whole frame yet.

    Returns
    -------
    frames : list of bytes

    Raises
    ------
    FrameError
        At an oversized length.
    """
    frames: list[bytes] = []
    start = 0
    while len(buffer) - start >= HEADER.size:
        length, _ = HEADER.unpack_from(buffer, start)
        if length > MAX_FRAME:
            raise FrameError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
        end = start + HEADER.size + length
        if len(buffer) < end:
            break
        frames.append(bytes(memoryview(buffer)[start:end]))
        start = end
    del buffer[:start]
    return frames


class FrameReader:
    """Cuts frames out of bytes that arrive in any portions, and decodes them against a type.

    Parameters
    ----------
    message_type : type
        The union of messages that may arrive.
    """

    def __init__(self, message_type: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(message_type)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take in bytes; yield each message that is complete.

        Parameters
        ----------
        data : bytes
            The next portion of the stream.

        Yields
        ------
        message : msgspec.Struct

        Raises
        ------
        FrameError
            At an oversized length, a wrong checksum or a payload that is no message of the type.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER.size:
                length, checksum = HEADER.unpack_from(buffer, start)
                if length > MAX_FRAME:
                    raise FrameError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
                end = start + HEADER.size + length
                if len(buffer) < end:
                    break
                payload = bytes(memoryview(buffer)[start + HEADER.size : end])
                start = end
                yield self._decode(payload, checksum)
        finally:
            del buffer[:start]

    def _decode(self, payload: bytes, checksum: int) -> Any:
        if zlib.crc32(payload) != checksum:
            raise FrameError("a frame's checksum does not fit its content")
        try:
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError, MemoryError) as error:
            # ValueError: text that is not UTF-8, of which msgspec makes no error of its own.
            raise FrameError(f"not a message of the protocol: {error}") from error
