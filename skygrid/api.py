"""skygrid from Python: fit a search object on nodes without a search file."""

from __future__ import annotations

import inspect
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
from joblib import parallel_config, register_parallel_backend

from skygrid.config import RunConfig, load_config, resume_config
from skygrid.engine.engine import PullEngine
from skygrid.errors import UsageError
from skygrid.joblib_backend.backend import SkygridBackend
from skygrid.joblib_backend.folds import nested_cross_validation
from skygrid.joblib_backend.pool import CallPool
from skygrid.joblib_backend.searches import searches_on_nodes
from skygrid.listener import Listener, NotingListener, SilentListener
from skygrid.nodes.registry import place_of
from skygrid.reports.notebook import table_html
from skygrid.run.cloud_nodes import make_offer
from skygrid.run.display import Relay, display
from skygrid.run.program import rented_nodes, rounds_of
from skygrid.run.program_run import fit_in_folder
from skygrid.run.setup import call_policies_of, nodes_of
from skygrid.search_file.searches import refuse_undistributable
from skygrid.sklearn_search.driven_search import fit_search, refuse_callbacks
from skygrid.user_code.source import did_you_mean

Search = TypeVar("Search")

NOT_RUNNING = "no nodes run: use the cluster inside its `with` statement"


class Cluster:
    """Nodes that stay up for several searches. Use it in a ``with`` statement.

    A search may fit further searches on the same cluster while it decides on its candidates or its
    refit. Threads may share a cluster: their searches take turns, a round of fits each. When the
    ``with`` statement ends before them, their ``fit`` raises `UsageError`.

    Remote nodes get an environment with the packages of the first search's estimators, scorers and
    data, in the versions installed here. Packages that are imported only while a fit runs, or by a
    later search, must be named under ``[environment]`` of the config.

    Parameters
    ----------
    nodes : int, optional
        Number of machines, or of agents on this machine. Default: one here, or every host of the
        config.
    concurrency : int, optional
        Fits at a time on each node; default: the node's vCPUs.
    on : {"local", "ssh", "command", "slurm", "ray", "dask", "aws"}, optional
        Place of the nodes. Default: the place in the config, else "local". Only ``on="aws"`` rents
        nodes: they start with the first search, after a line on stderr with their price and without
        a question.
    max_cost : float, optional
        USD after which no more fits are started; default: no limit.
    config : path, optional
        A TOML file as for ``skygrid run --config``, which names hosts and environment. Default: a
        ``skygrid.toml`` in the working directory, unless `on` is "local" or neither `on` nor
        `nodes` is given.
    fit_timeout : float, optional
        Seconds that one fit may take; default: no limit.
    retries : int, optional
        Retries of a fit that ended its slot; default: 2.
    sharing : bool, default=True
        True: candidates that one fit answers are fitted once. The scores are the same.
    start_method : {"auto", "fork", "spawn"}, optional
        Start method of slots. Default: "auto", which is fork on Linux, spawn elsewhere.
    progress : bool, optional
        True: show the progress of each search; where no terminal or notebook is, as a line on
        stderr every few seconds. False: never. Default: in a terminal and a notebook.

    Raises
    ------
    ConfigError
        If a value is invalid, or a host is named twice.
    UsageError
        If the config, or `nodes` alone, asks for nodes that cost money.
    """

    def __init__(
        self,
        nodes: int | None = None,
        concurrency: int | None = None,
        on: str | None = None,
        *,
        config: str | os.PathLike[str] | None = None,
        max_cost: float | None = None,
        fit_timeout: float | None = None,
        retries: int | None = None,
        sharing: bool = True,
        start_method: Literal["auto", "fork", "spawn"] | None = None,
        progress: bool | None = None,
    ) -> None:
        said = {
            "nodes": nodes,
            "concurrency": concurrency,
            "on": on,
            "max_cost": max_cost,
            "fit_timeout": fit_timeout,
            "retries": retries,
            "start_method": start_method,
            "no_sharing": None if sharing else True,
        }
        self._config = _config(said, config)
        self._rents = place_of(self._config).rental is not None
        self._stack = ExitStack()
        self._progress = progress
        self._silent = NotingListener(quiet=True) if self._rents else SilentListener()
        self._relay = Relay(self._silent)
        self._engine: PullEngine | None = None
        self._calls: CallPool | None = None

    def settings(self, name: str | None, runs_dir: str | os.PathLike[str] | None) -> RunConfig:
        """Return the configuration for a run with this name, below this folder."""
        said = {"name": name, "runs_dir": None if runs_dir is None else Path(runs_dir)}
        checked = resume_config({}, said)
        folder = self._config.runs_dir if runs_dir is None else checked.runs_dir
        return replace(self._config, name=checked.name, runs_dir=folder)

    def __enter__(self) -> Self:
        # No stop condition: the program closes the cluster.
        listener = cast("Listener", self._relay)
        if self._rents:
            nodes = rented_nodes(
                self._config, make_offer(self._config), "python", listener=listener
            )
        else:
            nodes = nodes_of(self._config, listener, secrets.token_hex(8))
        self._engine = self._stack.enter_context(nodes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine = self._calls = None
        self._stack.__exit__(kind, error, trace)

    def fit(self, search: Search, X: Any, y: Any = None, **fit_params: Any) -> Search:
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
            If nodes cannot be had or are lost for good, if the fits of `search` cannot be
            distributed, or if it holds an object that cannot be pickled, such as a lock.
        Exception
            Exceptions that ``search.fit`` would raise.
        """
        _refuse(search)
        engine = self._engine
        if engine is None:
            raise UsageError(NOT_RUNNING)
        with self._shown(engine) as listener:
            rounds = rounds_of(engine, self._config, search, X, y, fit_params, listener=listener)
            try:
                fit_search(search, X, y, fit_params, rounds)
            finally:
                rounds.warnings.issue()
        return search

    @contextmanager
    def _shown(self, engine: PullEngine) -> Iterator[Listener]:
        """Show the progress of a search while the block runs."""
        with display(self._progress, self._silent) as listener:
            if listener is self._silent:
                yield listener
                return
            self._relay.target = listener
            for name, greeting in dict(engine.greetings).items():
                listener.node_changed(name, "working")
                listener.node_greeted(name, greeting)
            listener.phase("searching")
            try:
                yield listener
                listener.phase("done")
            finally:
                self._relay.target = self._silent

    def _repr_html_(self) -> str:
        """Return the cluster as HTML, which notebooks show."""
        engine = self._engine
        greetings = {} if engine is None else dict(engine.greetings)
        facts = [
            (name, f"{one.slots} slots, {one.host}, {one.cpu}")
            for name, one in sorted(greetings.items())
        ]
        state = "not running" if engine is None else f"{len(facts)} nodes have answered"
        return table_html(f"cluster on {self._config.on}: {state}", facts)

    def cross_validate(self, estimator: Any, X: Any, y: Any = None, **options: Any) -> Any:
        """Cross-validate a search: scikit-learn's `cross_validate`, with its searches on the nodes.

        The fits of the searches of all outer folds are one queue. Refits, and everything else that
        an outer fold does, run in this process.

        Parameters
        ----------
        estimator : estimator
            A search, or an estimator that holds one, such as a Pipeline.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
        **options
            Other arguments of `sklearn.model_selection.cross_validate` in the installed release,
            except ``n_jobs`` and ``pre_dispatch``.

        Returns
        -------
        scores : dict of str to array of shape (n_outer_folds,)
            As scikit-learn returns it.

        Raises
        ------
        UsageError
            If `estimator` holds no search, or one whose fits cannot be distributed.
        SkygridError, Exception
            As for `fit`.
        """
        if self._engine is None:
            raise UsageError(NOT_RUNNING)
        return nested_cross_validation(self._engine, self._config, estimator, X, y, options)

    @contextmanager
    def joblib(self, *, n_jobs: int = -1, trust_nodes: bool = False) -> Iterator[None]:
        """Run everything in the block that uses `joblib.Parallel` on the nodes.

        ``cross_val_score``, forests, ``permutation_importance`` and loops of your own need no
        change. Arrays above joblib's ``max_nbytes`` travel once to each node and are read-only
        there. A call of a lost node runs again on another one. Calls inside a call run in its slot,
        one after another. The block concerns its own thread, as `joblib.parallel_config` does.

        Parameters
        ----------
        n_jobs : int, default=-1
            Calls at a time where the caller does not say; -1: as many as the cluster has slots. A
            caller's ``n_jobs=1`` runs in this process.
        trust_nodes : bool, default=False
            True: the nodes may run code in this process. Results are pickled objects, and opening a
            pickle runs the code in it. Required for every place but "local".

        Raises
        ------
        UsageError
            If the cluster is not running, or its nodes must be trusted and are not.
        """
        pool = self.call_pool(trust_nodes=trust_nodes)
        backend = SkygridBackend(self, trust_nodes=trust_nodes)
        try:
            with (
                parallel_config(backend, n_jobs=n_jobs),
                searches_on_nodes(pool.engine, self._config),
            ):
                yield
        finally:
            pool.release()

    def call_pool(self, *, trust_nodes: bool) -> CallPool:
        """Return the pool of the calls that joblib's backend runs; see `joblib`."""
        if self._engine is None:
            raise UsageError(NOT_RUNNING)
        if self._config.on != RunConfig.on and not trust_nodes:
            raise UsageError(
                f"joblib's results are pickled objects, and opening one runs the code that its "
                f"node put into it. With on={self._config.on!r}, write "
                f"cluster.joblib(trust_nodes=True) if you trust every node as you trust this "
                f"machine"
            )
        if self._calls is None:
            self._calls = CallPool(self._engine, call_policies_of(self._config))
        return self._calls


def _config(said: Mapping[str, Any], file: str | os.PathLike[str] | None) -> RunConfig:
    # NumPy's numbers, as from a calculation, are Python's.
    plain = {name: value.item() if isinstance(value, np.generic) else value
             for name, value in said.items()}  # fmt: skip
    here = said["on"] == RunConfig.on or (said["on"] is None and said["nodes"] is None)
    if file is None and here:
        return resume_config({}, plain)
    path = None if file is None else Path(file)
    config = load_config(plain, os.environ, config_file=path, cwd=Path.cwd())
    _refuse_to_rent(said, config)
    return config


def _refuse_to_rent(said: Mapping[str, Any], config: RunConfig) -> None:
    """Refuse nodes that cost money unless the call names their place: no question is asked."""
    if place_of(config).rental is None or said["on"] == config.on:
        return
    if "on" in config.origins and "--nodes" not in config.origin("on"):
        raise UsageError(
            f"{config.origin('on')} asks for nodes on {config.on}, which cost money: "
            f"write on={config.on!r} in the call, or on='local'"
        )
    raise UsageError(
        f"nodes={said['nodes']} does not say where the nodes are: write on='local' to start them "
        f"on this machine, or on={config.on!r} to rent them, which costs money"
    )


# As joblib.parallel_config("skygrid", cluster=cluster).
register_parallel_backend("skygrid", SkygridBackend)


def cluster(
    nodes: int | None = None,
    concurrency: int | None = None,
    on: str | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    max_cost: float | None = None,
    fit_timeout: float | None = None,
    retries: int | None = None,
    sharing: bool = True,
    start_method: Literal["auto", "fork", "spawn"] | None = None,
    progress: bool | None = None,
) -> Cluster:
    """Return nodes that stay up for several searches; see `Cluster` for the parameters."""
    return Cluster(
        nodes,
        concurrency,
        on,
        config=config,
        max_cost=max_cost,
        fit_timeout=fit_timeout,
        retries=retries,
        sharing=sharing,
        start_method=start_method,
        progress=progress,
    )


def fit(
    search: Search,
    X: Any,
    y: Any = None,
    *,
    nodes: int | None = None,
    concurrency: int | None = None,
    on: str | None = None,
    config: str | os.PathLike[str] | None = None,
    max_cost: float | None = None,
    fit_timeout: float | None = None,
    retries: int | None = None,
    sharing: bool = True,
    start_method: Literal["auto", "fork", "spawn"] | None = None,
    progress: bool | None = None,
    name: str | None = None,
    runs_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    fit_params: Mapping[str, Any] | None = None,
    **more_fit_params: Any,
) -> Search:
    """Fit one search on nodes that are started for it and ended after it.

    Parameters
    ----------
    search : BaseSearchCV
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
    nodes, concurrency, on, config, max_cost, fit_timeout, retries, sharing, start_method, progress
        As for `Cluster`.
    name : str, optional
        Name of the run. With it, or with `runs_dir`, the search has a run's folder as from the
        command line: every outcome is on disk, and the run can be resumed, shown and loaded.
    runs_dir : path, optional
        Folder of all runs. Default: ``skygrid-runs``.
    resume : bool, default=False
        True: continue the run `name` if there is one, else start it. Recorded fits are not fitted
        again.
    fit_params : mapping, optional
        Keyword arguments of ``search.fit`` whose names are also parameters of this function.
    **more_fit_params
        All other keyword arguments of ``search.fit``: groups, sample_weight and the like.

    Returns
    -------
    search : BaseSearchCV
        The same object, fitted.

    Raises
    ------
    UsageError
        If the fits of `search` cannot be distributed, or a keyword is likely a misspelt option.
        No node is started.
    SkygridError, Exception
        As for `Cluster.fit`.
    """
    _refuse(search)
    _refuse_misspelt(more_fit_params, _OPTIONS)
    keywords = dict(**(fit_params or {}), **more_fit_params)
    if resume and name is None:
        raise UsageError("resume=True needs the name of the run: name='...'")
    nodes_for_it = Cluster(
        nodes,
        concurrency,
        on,
        config=config,
        max_cost=max_cost,
        fit_timeout=fit_timeout,
        retries=retries,
        sharing=sharing,
        start_method=start_method,
        progress=progress,
    )
    if name is None and runs_dir is None:
        with nodes_for_it as running:
            return running.fit(search, X, y, **keywords)
    settings = nodes_for_it.settings(name, runs_dir)
    with display(progress) as listener:
        fit_in_folder(search, X, y, keywords, settings, listener, resume=resume)
    return search


_OPTIONS = tuple(
    name
    for name, one in inspect.signature(fit).parameters.items()
    if one.kind is inspect.Parameter.KEYWORD_ONLY
)
"""Options of `fit`."""


def _refuse(search: Any) -> None:
    """Refuse a search whose fits cannot be distributed, before a node starts."""
    refuse_undistributable(search)
    refuse_callbacks(search)


def _refuse_misspelt(fit_params: Mapping[str, Any], options: Sequence[str]) -> None:
    """Refuse a misspelt option, which would pass as a fit parameter: ``max_costs=5``."""
    for name in fit_params:
        meant = did_you_mean(name, options, cutoff=0.8)
        if meant is not None:
            raise UsageError(
                f"skygrid.fit has no option {name!r}; did you mean {meant!r}? "
                f"A parameter of search.fit goes into fit_params={{{name!r}: ...}}"
            )
