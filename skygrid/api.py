"""skygrid from Python: fit a search object on nodes without a search file or a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from skygrid.engines.pull import PullEngine
from skygrid.engines.settings import EngineSettings
from skygrid.journal.memory import MemoryJournal
from skygrid.listener import SilentListener
from skygrid.providers.local import LocalProvider
from skygrid.queue.policies import QueuePolicies, RetryPolicy
from skygrid.results.sklearn_search import fit_search
from skygrid.rounds import JournaledRounds


class Cluster:
    """Nodes that stay up for several searches. Use it in a ``with`` statement.

    Parameters
    ----------
    nodes : int, default=1
        Machines; on this machine: agents.
    concurrency : int, optional
        Fits at a time on each; default: the node's vCPUs.
    on : {"local"}, default="local"
        Where the nodes are.
    fit_timeout : float, optional
        Seconds that one fit may take; default: no limit.
    retries : int, default=2
        How often a fit that took its slot down is tried again.
    sharing : bool, default=True
        Whether candidates that one fit answers are answered by one fit; the scores are the same.
    start_method : {"auto", "fork", "spawn"}, default="auto"
        How slots are started; auto: fork on Linux, spawn elsewhere.
    """

    def __init__(
        self,
        nodes: int = 1,
        concurrency: int | None = None,
        on: Literal["local"] = "local",
        *,
        fit_timeout: float | None = None,
        retries: int = 2,
        sharing: bool = True,
        start_method: Literal["auto", "fork", "spawn"] = "auto",
    ) -> None:
        if on != "local":
            raise ValueError(f"on={on!r}: this version runs on this machine only, on='local'")
        settings = EngineSettings(fit_timeout_seconds=fit_timeout, start_method=start_method)
        provider = LocalProvider(nodes, concurrency)
        self._sharing = sharing
        self._policies = QueuePolicies(retry=RetryPolicy(retries=retries))
        self._provider = provider
        self._engine = PullEngine(provider, settings, SilentListener())

    def __enter__(self) -> Self:
        self._engine.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._engine.close()
        finally:
            self._provider.close()

    def fit(self, search: Any, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit a search in place, as ``search.fit(X, y, **fit_params)`` would.

        Parameters
        ----------
        search : BaseSearchCV
            GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV or a class
            of your own.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
        **fit_params
            groups, sample_weight and the like.

        Returns
        -------
        search : BaseSearchCV
            The same object, fitted.

        Raises
        ------
        SkygridError
            If nodes are lost for good, or the search carries callbacks.
        Exception
            Whatever ``search.fit`` would raise.
        """
        rounds = JournaledRounds(
            self._engine,
            MemoryJournal(),
            self._policies,
            SilentListener(),
            sharing=self._sharing,
        )
        try:
            return fit_search(search, X, y, fit_params, rounds)
        finally:
            rounds.warnings.issue()


def cluster(nodes: int = 1, concurrency: int | None = None, **options: Any) -> Cluster:
    """Nodes that stay up for several searches; see `Cluster` for the parameters."""
    return Cluster(nodes, concurrency, **options)


def fit(
    search: Any,
    X: Any,
    y: Any = None,
    *,
    nodes: int = 1,
    concurrency: int | None = None,
    fit_params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Fit one search on nodes that are started for it and ended after it.

    Parameters
    ----------
    search : BaseSearchCV
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
    nodes, concurrency, **options
        As for `Cluster`.
    fit_params : mapping, optional
        Keyword arguments of ``search.fit``: groups, sample_weight and the like.

    Returns
    -------
    search : BaseSearchCV
        The same object, fitted.
    """
    with Cluster(nodes, concurrency, **options) as running:
        return running.fit(search, X, y, **(fit_params or {}))
