"""Run the test cloud by hand until Ctrl-C: ``python -m tests.cloud``.

With ``--serve`` it is the child process of a test: it prints its address to standard output as JSON
and ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from tests.cloud.faults import Settings
from tests.cloud.install import install_all
from tests.cloud.server import Server, shared_environments
from tests.programs import ProgramMissingError

SHARED = Path(__file__).parents[2] / ".pytest_cache" / "cloud-nodes"
"""Environments of nodes, kept for later runs."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cloud", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; default: any")
    parser.add_argument("--boot", type=float, default=0.0, help="seconds that a boot takes")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        install_all()
    except ProgramMissingError as missing:
        sys.exit(str(missing))
    if asked.serve:
        serve(asked.port)
    else:
        by_hand(asked.port, asked.boot)


def serve(port: int) -> None:
    """Print the address and answer requests until standard input closes."""
    server = Server(port, Settings(), lambda _: None)
    try:
        print(json.dumps({"url": server.url}), flush=True)
        sys.stdin.buffer.read()
    finally:
        server.close()


def by_hand(port: int, boot_seconds: float) -> None:
    """Print how to use the cloud, then print the events of its instances."""
    settings = Settings(boot_seconds=boot_seconds, shared=shared_environments(SHARED))
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server = Server(port, settings, lambda line: print(line, flush=True))
    print(
        "A cloud that boots, on this machine. In another terminal:\n\n"
        f"  export AWS_ENDPOINT_URL={server.url}\n"
        "  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test\n"
        "  export AWS_DEFAULT_REGION=us-east-1\n\n"
        "  skygrid run guides/digits/search.py --nodes 3 --concurrency 4\n\n"
        "Ctrl-C here ends every instance.",
        flush=True,
    )
    try:
        ended.wait()
    finally:
        server.close()
        print("all instances have ended", flush=True)


if __name__ == "__main__":
    main()
