"""Fetches data by a URL: ``python -m skygrid.worker.data.fetch`` and the agent's end of it.

The agent waits for nothing, so the fetching is a process of its own: it reads one line with where,
from which byte on and until which on its standard input, and writes the bytes to its standard
output. A connection that breaks is taken up where it broke (RFC 9110, section 14: Range). What
arrives is checked by the agent, by its digest, as all data is.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from skygrid.worker.wire.messages import BlobOffer

READ_BYTES = 1 << 20
SILENCE_SECONDS = 30.0
ATTEMPTS = 5
"""In a row without a byte, before it is given up."""

PAUSE_SECONDS = 1.0
FINAL_CODES = frozenset({400, 401, 403, 404, 410, 416})
"""Answers that another try would not change."""


class Fetch:
    """A blob on its way from a URL.

    Parameters
    ----------
    offer : BlobOffer
        With a URL.
    offset : int
        Bytes that are here.
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
        # By its input and not as an argument: the URL is a right to read, and others see those.
        order = {"url": offer.url, "offset": offset, "size": offer.size}
        with contextlib.suppress(BrokenPipeError):  # it has ended already: nothing will come
            self._process.stdin.write(f"{json.dumps(order)}\n".encode())
            self._process.stdin.close()

    def read(self) -> bytes:
        """The next bytes; empty when there are no more. Waits if there are none yet."""
        data = os.read(self.source, READ_BYTES)[: self.offer.size - self.position]
        self.position += len(data)
        return data

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main() -> None:
    """Fetch what the one line on standard input names."""
    order = json.loads(sys.stdin.readline())
    try:
        fetch(order["url"], order["offset"], order["size"])
    except (OSError, HTTPException, ValueError) as error:
        # Without the URL, which is a secret.
        sys.stderr.write(f"skygrid: the data could not be fetched: {error}\n")
        sys.exit(1)


def fetch(url: str, offset: int, size: int) -> None:
    """Write the bytes from `offset` to `size` to standard output.

    Raises
    ------
    OSError, HTTPException
        What the last of several attempts failed with.
    """
    fruitless = 0
    while offset < size:
        begin = offset
        try:
            with _opened(url, offset, size) as answer:
                while data := answer.read(READ_BYTES):
                    _write_all(data)
                    offset += len(data)
            trouble: Exception = ConnectionResetError("the connection ended early")
        except BrokenPipeError:
            sys.exit(0)  # nobody wants it any more
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in FINAL_CODES:
                raise
            trouble = error
        fruitless = 0 if offset > begin else fruitless + 1
        if offset < size:
            if fruitless >= ATTEMPTS:
                raise trouble
            time.sleep(PAUSE_SECONDS * fruitless)


def _opened(url: str, offset: int, size: int) -> Any:
    wanted = {"Range": f"bytes={offset}-{size - 1}"} if offset else {}
    answer = urllib.request.urlopen(
        urllib.request.Request(url, headers=wanted), timeout=SILENCE_SECONDS
    )
    if offset and answer.status != 206:
        answer.close()
        raise ValueError("the server sends no part of what it has")
    return answer


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
