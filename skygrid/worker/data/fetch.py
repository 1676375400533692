"""Fetching of a blob from a URL, by a process of its own (``python -m skygrid.worker.data.fetch``).

The agent never blocks, so a child process fetches: it reads one JSON line with URL, offset and size
from standard input, and writes the bytes to standard output. A broken connection is resumed where
it broke (RFC 9110, section 14: Range). The agent verifies the digest, as for all data.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from skygrid.worker.wire.messages.to_agent import BlobOffer

READ_BYTES = 1 << 20
SILENCE_SECONDS = 30.0
ATTEMPTS = 5
"""Most consecutive attempts that bring no bytes."""

PAUSE_SECONDS = 1.0
FINAL_CODES = frozenset({400, 401, 403, 404, 410, 416})
"""HTTP status codes that are not retried."""


class Fetch:
    """A running fetch of a blob.

    Parameters
    ----------
    offer : BlobOffer
        Has a URL.
    offset : int
        First byte to fetch.
    """

    def __init__(self, offer: BlobOffer, offset: int) -> None:
        self.offer = offer
        self.position = offset
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.fetch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.source = self._process.stdout.fileno()
        # On standard input, because arguments are visible to other users and the URL grants access.
        request = {"url": offer.url, "offset": offset, "size": offer.size}
        with contextlib.suppress(BrokenPipeError):  # it has ended: no bytes will come
            self._process.stdin.write(f"{json.dumps(request)}\n".encode())
            self._process.stdin.close()

    def read(self) -> bytes:
        """Return the next bytes, empty at the end. Blocks until bytes arrive."""
        data = os.read(self.source, READ_BYTES)[: self.offer.size - self.position]
        self.position += len(data)
        return data

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main() -> None:
    """Fetch the bytes that the line on standard input describes."""
    request = json.loads(sys.stdin.readline())
    try:
        fetch(request["url"], request["offset"], request["size"])
    except (OSError, HTTPException, ValueError) as error:
        # The URL is a secret and must not appear in the message.
        sys.stderr.write(f"skygrid: the data could not be fetched: {error}\n")
        sys.exit(1)


def fetch(url: str, offset: int, size: int) -> None:
    """Write the bytes from `offset` to `size` to standard output.

    Raises
    ------
    OSError, HTTPException
        Error of the last attempt.
    ValueError
        If the server ignores the offset.
    """
    failures = 0
    while offset < size:
        begin = offset
        try:
            with _opened(url, offset, size) as answer:
                while data := answer.read(READ_BYTES):
                    _write_all(data)
                    offset += len(data)
            last_error: Exception = ConnectionResetError("the connection ended early")
        except BrokenPipeError:
            sys.exit(0)  # the agent has closed the pipe
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in FINAL_CODES:
                raise
            last_error = error
        failures = 0 if offset > begin else failures + 1
        if offset < size:
            if failures >= ATTEMPTS:
                raise last_error
            time.sleep(PAUSE_SECONDS * failures)


def _opened(url: str, offset: int, size: int) -> Any:
    if url.startswith("file:"):
        path = urllib.request.url2pathname(urllib.parse.urlsplit(url).path)
        file = Path(path).open("rb")  # noqa: SIM115  # the caller closes it
        file.seek(offset)
        return file
    wanted = {"Range": f"bytes={offset}-{size - 1}"} if offset else {}
    answer = urllib.request.urlopen(
        urllib.request.Request(url, headers=wanted), timeout=SILENCE_SECONDS
    )
    if offset and answer.status != 206:
        answer.close()
        raise ValueError("the server ignores the Range header")
    return answer


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
