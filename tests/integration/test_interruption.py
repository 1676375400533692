"""The process that watches for a spot instance's interruption, against a metadata service."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from skygrid.worker.agent.spot_interruption import MetadataService, read_notice
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import Leaving
from tests.cloud import metadata
from tests.processes import WAIT_SECONDS

ACTION = "meta-data/spot/instance-action"
NOTICE = '{"action": "terminate", "time": "2026-01-01T00:02:00Z"}'


class Service:
    """Metadata service with texts of the test."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.asked = threading.Event()
        # Each test has its own address, because the service needs port 80.
        self.address = f"127.62.{os.getpid() % 250 + 1}.{threading.get_ident() % 250 + 1}"
        self._service = metadata.MetadataService(self.address, self._look_up)
        self.url = self._service.url

    def _look_up(self, path: str) -> str | None:
        self.asked.set()
        return self.texts.get(path)

    def forget_tokens(self) -> None:
        self._service.tokens.clear()

    def close(self) -> None:
        self._service.close()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


def watcher(service: Service) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "skygrid.worker.agent.spot_interruption"],
        stdout=subprocess.PIPE,
        env={**os.environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url},
    )


def test_a_notice_is_passed_on_once(service: Service) -> None:
    """A notice is passed on in one frame, and the process ends."""
    service.texts[ACTION] = NOTICE
    process = watcher(service)
    out, _ = process.communicate(timeout=WAIT_SECONDS)
    (notice,) = FrameReader(Leaving).feed(out)
    assert "AWS takes this spot instance back" in notice.reason
    assert notice.seconds == 0.0, "its time is past"


def test_the_watch_ends_with_its_agent(service: Service) -> None:
    """The process ends when its output is closed."""
    process = watcher(service)
    assert service.asked.wait(WAIT_SECONDS)
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=WAIT_SECONDS)


def test_an_expired_token_is_renewed(service: Service) -> None:
    """A refused token fails one request; the next one uses a new token."""
    asking = MetadataService(service.url)
    assert asking.get(ACTION) is None
    service.texts[ACTION] = NOTICE
    service.forget_tokens()
    with pytest.raises(OSError, match="401"):
        asking.get(ACTION)
    assert asking.get(ACTION) == NOTICE


def test_a_proxy_is_not_used(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for metadata do not use the environment's proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert MetadataService(service.url).get(ACTION) is None


def test_seconds_until_the_interruption() -> None:
    """The time of a notice is converted to seconds from now."""
    moment = time.mktime((2026, 1, 1, 0, 0, 0, 0, 0, 0)) - time.timezone
    assert read_notice(NOTICE, moment).seconds == 120.0


@pytest.mark.parametrize("text", ["", "<html>", "[]", '{"action": "stop"}', '{"time": 1}'])
def test_an_unreadable_notice_is_a_notice(text: str) -> None:
    """Any text of the notice's path counts as a notice."""
    assert read_notice(text, 0.0).seconds is None
