"""Frames that delimit messages in a stream of bytes.

A frame is a header of two little-endian unsigned 32-bit integers, and a payload:

    length of the payload | CRC-32 of the payload (as in RFC 1952) | payload

The checksum is the only one between driver and agent. It detects transmission errors, not
manipulation. After a wrong length or checksum the next frame cannot be found, so the stream ends.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from skygrid.worker.limits import MAX_FRAME

HEADER = struct.Struct("<II")


class FrameError(Exception):
    """The stream contains bytes that are no frame, or no message of the protocol."""


_encoder = msgspec.msgpack.Encoder()


def encode(message: Any) -> bytes:
    """Encode one message as one frame.

    Parameters
    ----------
    message : msgspec.Struct
        One of the messages in `messages`.

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
    """Remove complete frames from the beginning of a buffer, without decoding them.

    Parameters
    ----------
    buffer : bytearray
        Keeps the bytes of an incomplete frame.

    Returns
    -------
    frames : list of bytes
        Each with its header.

    Raises
    ------
    FrameError
        If a length is above `MAX_FRAME`.
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
    """Decoder of frames from bytes that arrive in portions of any size.

    Parameters
    ----------
    message_type : type
        Union of the accepted messages.
    """

    def __init__(self, message_type: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(message_type)
        self._buffer = bytearray()
        self.most_bytes = MAX_FRAME
        """Bytes of the largest payload that is accepted."""

        self.n_bytes = 0
        """Bytes of the newest message's payload."""

    def feed(self, data: bytes) -> Iterator[Any]:
        """Add bytes and yield each complete message.

        Parameters
        ----------
        data : bytes
            Next portion of the stream.

        Raises
        ------
        FrameError
            If a length is above `most_bytes`, a checksum is wrong or a payload is no accepted
            message.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER.size:
                length, checksum = HEADER.unpack_from(buffer, start)
                if length > self.most_bytes:
                    raise FrameError(
                        f"a frame of {length} bytes is over the limit of {self.most_bytes}"
                    )
                end = start + HEADER.size + length
                if len(buffer) < end:
                    break
                payload = bytes(memoryview(buffer)[start + HEADER.size : end])
                start = end
                self.n_bytes = length
                yield self._decode(payload, checksum)
        finally:
            del buffer[:start]

    def _decode(self, payload: bytes, checksum: int) -> Any:
        if zlib.crc32(payload) != checksum:
            raise FrameError("a frame's checksum does not match its content")
        try:
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError, MemoryError) as error:
            # msgspec raises a bare ValueError (UnicodeDecodeError) for text that is not UTF-8.
            raise FrameError(f"not a message of the protocol: {error}") from error
