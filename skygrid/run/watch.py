"""``skygrid watch``: the report of a run in progress, on a web server for this machine alone.

The server listens on 127.0.0.1, answers only under a random token, and only reads. Everything that
it sends comes from the run's folder, so the run need not know of it.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import msgspec

from skygrid.errors import JournalError, SkygridError, UsageError
from skygrid.journal.sqlite import recorded_outcomes
from skygrid.reports.run_record import RunRecord, State
from skygrid.run.report import report_page

LOGGER = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"

EVENT_SECONDS = 1.0
"""Interval between two progress events, in seconds."""

RATE_SECONDS = 30.0
"""Window of the rate of fits, in seconds."""

RENDER_SHARE = 0.1
"""Largest part of one processor that pages may take: a slow page is made less often."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One progress event."""

    state: State
    done: int
    total: int
    rate: float | None
    """Fits a second; None if unknown."""

    left: float | None
    """Seconds until the known fits are done; None if unknown."""

    version: int
    """Changes when the page has new content."""


class Rate:
    """Fits a second over a window."""

    def __init__(self, window: float = RATE_SECONDS) -> None:
        self._window = window
        self._marks: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> float | None:
        """Add a count; return the rate, None until two counts are known."""
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > self._window:
            self._marks.popleft()
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        return (after - before) / (last - first) if last > first else None


def progress_of(folder: Path, rate: Rate, now: float) -> Progress:
    """Return the progress of a run, from its record and the count in its journal."""
    record = RunRecord.read(folder)
    state = record.seen_state()
    done = record.fits_recorded
    if state == "running":
        try:
            done = recorded_outcomes(folder / "journal.sqlite")
        except JournalError:  # it is being made at this moment
            done = 0
    total = max(done, record.fits_total or 0)
    speed = rate.add(now, done)
    return Progress(
        state=state,
        done=done,
        total=total,
        rate=speed,
        left=(total - done) / speed if speed else None,
        # The end of a run changes the page too.
        version=done if state == "running" else done + 1,
    )


class Pages:
    """The page of a run, made anew when there is something new and time for it."""

    def __init__(
        self, make: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[int, str] | None = None
        self._not_before = 0.0

    def page(self, version: int, *, now: bool = False) -> tuple[int, str]:
        """Return a page and its version; `now`: this version, however long it takes."""
        with self._lock:
            begin = self._clock()
            made = self._made
            if made is None or (made[0] != version and (now or begin >= self._not_before)):
                made = self._made = version, self._make()
                end = self._clock()
                self._not_before = end + (end - begin) * (1 / RENDER_SHARE - 1)
            return made


class WatchServer(ThreadingHTTPServer):
    """Serves the page of one run.

    Parameters
    ----------
    folder : Path
        The run's folder.
    port : int, default=0
        0 takes any free port.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.token = secrets.token_urlsafe(16)
        self.pages = Pages(lambda: report_page(folder, live=True))
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {ADDRESS}:{port}: {error.strerror or error}. Choose another "
                "--port, or leave it out"
            ) from error

    @property
    def url(self) -> str:
        """Address of the page, with the token."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Bind without the base class's look-up of a host name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error, usually that of a browser that has gone."""
        LOGGER.debug("request", exc_info=True)  # noqa: LOG014  # called in the handler


class _Handler(BaseHTTPRequestHandler):
    server: WatchServer
    protocol_version = "HTTP/1.0"  # a connection ends with its answer

    def do_GET(self) -> None:
        """Answer the page and the events under the token, and nothing else."""
        path, _, query = self.path.partition("?")
        parts = path.split("/")
        if len(parts) != 3 or not self._may_read(parts[1]):
            self.send_error(HTTPStatus.NOT_FOUND)
        elif parts[2] == "":
            self._send_page(query)
        elif parts[2] == "events":
            self._send_events()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _may_read(self, token: str) -> bool:
        return self._from_here() and hmac.compare_digest(token.encode(), self.server.token.encode())

    def _from_here(self) -> bool:
        # Another site may give its own name the address 127.0.0.1 and read the answers.
        hosts = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}
        return self.headers.get("Host") in hosts

    def _send_page(self, query: str) -> None:
        progress = progress_of(self.server.folder, Rate(), time.monotonic())
        over = progress.state != "running"
        try:
            version, page = self.server.pages.page(progress.version, now=over)
        except SkygridError as error:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, explain=str(error))
            return
        if query == f"have={version}":
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
            return
        content = page.encode(errors="replace")
        self._begin("text/html; charset=utf-8", len(content))
        self.wfile.write(content)

    def _send_events(self) -> None:
        self._begin("text/event-stream")
        rate, ended = Rate(), threading.Event()
        while True:
            progress = progress_of(self.server.folder, rate, time.monotonic())
            self.wfile.write(b"data: " + msgspec.json.encode(progress) + b"\n\n")
            self.wfile.flush()
            if progress.state != "running":
                return
            ended.wait(EVENT_SECONDS)

    def _begin(self, kind: str, length: int | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Log nothing: the address has the token."""
