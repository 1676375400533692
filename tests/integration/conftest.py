"""Fixtures for tests that start processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import leaving_nothing


@pytest.fixture
def nothing_left() -> Iterator[str]:
    """No process that the test starts outlives it, not even as a zombie."""
    with leaving_nothing() as mark:
        yield mark
