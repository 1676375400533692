"""Fixtures for tests that start processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud.client import cloud, cloud_server
from tests.processes import leaving_nothing
from tests.sshd import ssh_bed

__all__ = ["cloud", "cloud_server", "nothing_left", "ssh_bed"]


@pytest.fixture
def nothing_left() -> Iterator[str]:
    """No process that the test starts outlives it, not even as a zombie."""
    with leaving_nothing() as mark:
        yield mark
