"""Fixtures for tests that start processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.processes import leaving_nothing
from tests.sshd import ssh_bed

__all__ = ["aws", "cloud", "cloud_server", "nothing_left", "ssh_bed"]


@pytest.fixture
def aws(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The cloud, with the environment variables that make it AWS for this process."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, text in cloud.variables().items():
        monkeypatch.setenv(name, text)
    return cloud


@pytest.fixture
def nothing_left() -> Iterator[str]:
    """Fail if a process that the test starts outlives it, even as a zombie."""
    with leaving_nothing() as mark:
        yield mark
