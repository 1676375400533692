"""Watches for the interruption of a spot instance.

``python -m skygrid.worker.agent.spot_interruption``

It is a process beside the agent, because the agent must never wait. It polls the instance metadata
service (version 2, which needs a token). On a notice it writes one frame with `Leaving` to its
standard output and ends. Format of the notice and interval of five seconds:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html

Rebalance recommendations are ignored: most instances that get one are never interrupted.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime

from skygrid.worker.wire.frames import encode
from skygrid.worker.wire.messages.from_agent import Leaving

SERVICE = "http://169.254.169.254"
"""Link-local address, the same on every instance."""

POLL_SECONDS = 5.0
ANSWER_SECONDS = 2.0
TOKEN_SECONDS = 21600
"""Lifetime of a token in seconds: the longest that AWS permits."""


class MetadataService:
    """Client of the metadata service.

    Parameters
    ----------
    url : str
        Address without a path.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._token = ""
        # Use no proxy: the address is valid on the instance only.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> str | None:
        """Return the text at a path below ``/latest/``; None if there is none.

        Raises
        ------
        OSError
            If the service does not answer.
        """
        self._token = self._token or self._new_token()
        try:
            return self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            self._token = ""  # 401: the token has expired; the next call gets a new one
            raise

    def _new_token(self) -> str:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        return self._ask("PUT", "api/token", lifetime)

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        request = urllib.request.Request(
            f"{self._url}/latest/{path}", headers=dict(headers), method=method
        )
        with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
            return str(answer.read(1 << 16).decode(errors="replace"))


def read_notice(text: str, now: float) -> Leaving:
    """Return the notice in an answer of the service.

    Parameters
    ----------
    text : str
        As ``{"action": "terminate", "time": "2017-09-18T08:22:00Z"}``.
    now : float
        Seconds since the epoch.

    Returns
    -------
    notice : Leaving
        Without seconds if the time cannot be read: the interruption is certain anyway.
    """
    action, seconds = "terminate", None
    try:
        said = json.loads(text)
        action = str(said["action"])
        seconds = max(0.0, datetime.fromisoformat(said["time"]).timestamp() - now)
    except (ValueError, KeyError, TypeError):
        pass  # the interruption is certain, even if its time cannot be read
    return Leaving(reason=f"AWS takes this spot instance back ({action})", seconds=seconds)


def start_watching() -> int:
    """Start the watching process; return the file descriptor on which its notice arrives.

    Call it before the agent starts slots.
    """
    read, write = os.pipe()
    # The process ends with the agent, because its pipe then has no reader.
    subprocess.Popen(
        [sys.executable, "-P", "-m", f"{__package__}.spot_interruption"],
        stdin=subprocess.DEVNULL,
        stdout=write,
    )
    os.close(write)
    return read


def watch(service: MetadataService, poll_seconds: float = POLL_SECONDS) -> Leaving | None:
    """Wait for the notice; return None when standard output has no reader any more."""
    nobody = select.poll()
    nobody.register(sys.stdout.fileno(), select.POLLERR)
    while True:
        try:
            text = service.get("meta-data/spot/instance-action")
            if text is not None:
                return read_notice(text, datetime.now(UTC).timestamp())
        except OSError:
            pass  # no answer this time: ask again
        if nobody.poll(poll_seconds * 1000):
            return None


def main() -> None:
    """Watch until the notice arrives, and write it to standard output."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    service = MetadataService(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or SERVICE)
    notice = watch(service)
    if notice is not None:
        sys.stdout.buffer.write(encode(notice))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
