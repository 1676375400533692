"""Nodes that stay up for the whole session, one set for each kind of cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

import skygrid
import tests


@pytest.fixture(scope="session")
def _doubles_by_value() -> Iterator[None]:
    """Have the doubles pickled by value, as the modules beside a search file are."""
    cloudpickle.register_pickle_by_value(tests)
    yield
    cloudpickle.unregister_pickle_by_value(tests)


@pytest.fixture(scope="session")
def cluster(_doubles_by_value: None) -> Iterator[Any]:
    """One node of two slots on this machine."""
    with skygrid.cluster(on="local", nodes=1, concurrency=2) as running:
        yield running
