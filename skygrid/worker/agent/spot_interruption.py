"""Watches for the interruption of a spot instance.

``python -m skygrid.worker.agent.spot_interruption``

A process of its own beside the agent, which must not wait for anything. It asks the instance
metadata service (version 2: a token first) every few seconds, and when the notice is there it
writes one frame with `Leaving` to its standard output and ends. Standard library and this package's
messages alone. What the service says, and that it should be asked every five seconds:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html

Rebalance recommendations are not heeded: most instances that get one are never interrupted.
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
from skygrid.worker.wire.messages import Leaving

SERVICE = "http://169.254.169.254"
"""Link-local, the same for every instance."""

POLL_SECONDS = 5.0
ANSWER_SECONDS = 2.0
TOKEN_SECONDS = 21600
"""The most that a token may live."""


class MetadataService:
    """Asks the metadata service.

    Parameters
    ----------
    url : str
        Without a path.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._token = ""
        # A proxy of the environment knows nothing of an address that is the instance's own.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> str | None:
        """The text at a path below ``/latest/``; None where there is none.

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
            self._token = ""  # 401: it has run out, and the next time there is a new one
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
    """What the service says of an interruption.

    Parameters
    ----------
    text : str
        As ``{"action": "terminate", "time": "2017-09-18T08:22:00Z"}``.
    now : float
        Seconds since the epoch.

    Returns
    -------
    notice : Leaving
        Without seconds where the time cannot be read: the interruption is certain all the same.
    """
    action, seconds = "terminate", None
    try:
        said = json.loads(text)
        action = str(said["action"])
        seconds = max(0.0, datetime.fromisoformat(said["time"]).timestamp() - now)
    except (ValueError, KeyError, TypeError):
        pass
    return Leaving(reason=f"AWS takes this spot instance back ({action})", seconds=seconds)


def start_watching() -> int:
    """Start the watching process; the file descriptor on which its notice comes.

    To be called before the agent has any slot.
    """
    read, write = os.pipe()
    # It ends when nobody reads what it says any more, that is with the agent.
    subprocess.Popen(
        [sys.executable, "-P", "-m", f"{__package__}.spot_interruption"],
        stdin=subprocess.DEVNULL,
        stdout=write,
    )
    os.close(write)
    return read


def watch(service: MetadataService, poll_seconds: float = POLL_SECONDS) -> Leaving | None:
    """Wait for the notice; None when nobody waits for it any more."""
    nobody = select.poll()
    nobody.register(sys.stdout.fileno(), select.POLLERR)
    while True:
        try:
            text = service.get("meta-data/spot/instance-action")
            if text is not None:
                return read_notice(text, datetime.now(UTC).timestamp())
        except OSError:
            pass  # it answers again, or this is no instance: the next question tells
        if nobody.poll(poll_seconds * 1000):
            return None


def main() -> None:
    """Watch until there is something to say."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    service = MetadataService(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or SERVICE)
    notice = watch(service)
    if notice is not None:
        sys.stdout.buffer.write(encode(notice))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
