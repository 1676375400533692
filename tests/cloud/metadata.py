"""Metadata service of one instance, version 2: a token first, then the data.

Source: "Use the Instance Metadata Service to access instance metadata" and "Spot Instance
interruption notices" in the EC2 User Guide. Without a token the answer is 401, as with
``HttpTokens=required``.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN_PATH = "/latest/api/token"

MOST_TOKEN_SECONDS = 21600


class MetadataService:
    """An HTTP server on port 80 of an address.

    Parameters
    ----------
    address : str
    look_up : callable
        Returns the text of a path below ``/latest/``, or None if it does not exist (404).
    """

    def __init__(self, address: str, look_up: Callable[[str], str | None]) -> None:
        self.url = f"http://{address}"
        handler = type("Handler", (_Handler,), {"service": self})
        self.look_up = look_up
        self.tokens: dict[str, float] = {}
        self._server = _Server((address, 80), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Handler(BaseHTTPRequestHandler):
    service: MetadataService
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != TOKEN_PATH:
            self._answer(404, "")
        elif not seconds.isdigit() or not 1 <= int(seconds) <= MOST_TOKEN_SECONDS:
            self._answer(400, "")
        else:
            token = secrets.token_urlsafe(32)
            self.service.tokens[token] = time.monotonic() + int(seconds)
            self._answer(200, token)

    def do_GET(self) -> None:
        token = self.headers.get("X-aws-ec2-metadata-token", "")
        if self.service.tokens.get(token, 0.0) < time.monotonic():
            self._answer(401, "")
            return
        found = None
        if self.path.startswith("/latest/"):
            found = self.service.look_up(self.path.removeprefix("/latest/"))
        self._answer(404 if found is None else 200, found or "")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing: the terminal belongs to other output."""
