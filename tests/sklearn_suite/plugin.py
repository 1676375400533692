"""A pytest plugin that runs each search of a test on one cluster.

Only the outermost ``fit`` in the test's own process goes to nodes. A search within a search, on a
node or during the refit, is scikit-learn's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# This import makes experimental classes importable.
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._search_successive_halving import BaseSuccessiveHalving

import skygrid
from tests.sklearn_suite.inherent import difference_of

OWN_FITS: dict[Any, Callable[..., Any]] = {
    kind: vars(kind)["fit"] for kind in (BaseSearchCV, BaseSuccessiveHalving)
}
"""Classes that define ``fit`` for all searches, with scikit-learn's own functions."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the cluster."""
    parser.addoption("--start-method", default="auto", help="how slots start: fork or spawn")
    parser.addoption("--nodes", type=int, default=1, help="agents of two slots on this machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that is known to differ as an expected failure, with its reason."""
    for item in items:
        if known := difference_of(item.name):
            mark = pytest.mark.xfail(reason=known.reason, raises=known.raises, strict=known.always)
            item.add_marker(mark)


@pytest.fixture(scope="session", autouse=True)
def searches_on_nodes(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fit each search of the session on one cluster."""
    start_method: Any = pytestconfig.getoption("--start-method")
    nodes = pytestconfig.getoption("--nodes")
    with skygrid.cluster(
        on="local", nodes=nodes, concurrency=2, start_method=start_method
    ) as cluster:
        _send_to(cluster)
        yield
        _send_nowhere()


def _send_to(cluster: Any) -> None:
    for kind, own in OWN_FITS.items():
        kind.fit = _fit_on(cluster, own)


def _send_nowhere() -> None:
    for kind, own in OWN_FITS.items():
        kind.fit = own


def _fit_on(cluster: Any, own: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``fit`` that runs the search on the cluster and restores the original meanwhile."""

    @functools.wraps(own)
    def fit(self: Any, X: Any, y: Any = None, **params: Any) -> Any:
        _send_nowhere()
        try:
            return cluster.fit(self, X, y, **params)
        finally:
            _send_to(cluster)

    return fit
