"""Clusters that stay up for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

import skygrid
import tests


@pytest.fixture(scope="session")
def _doubles_by_value() -> Iterator[None]:
    """Pickle the doubles by value, like the modules beside a search file."""
    cloudpickle.register_pickle_by_value(tests)
    yield
    cloudpickle.unregister_pickle_by_value(tests)


@pytest.fixture(scope="session")
def cluster(_doubles_by_value: None) -> Iterator[Any]:
    """Yield a cluster of one node with two slots on this machine."""
    with skygrid.cluster(on="local", nodes=1, concurrency=2) as running:
        yield running
