"""Where the nodes of a run come from, and how its engine and its queue are set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from skygrid.config import RunConfig, limits
from skygrid.engine.engine import PullEngine
from skygrid.engine.settings import EngineSettings
from skygrid.engine.stopping import StopCondition, never, time_limit
from skygrid.errors import UsageError
from skygrid.listener import Listener
from skygrid.nodes.interface import Provider
from skygrid.nodes.local import LocalProvider
from skygrid.queue.policies import LeasePolicy, QueuePolicies, RetryPolicy


def provider_of(config: RunConfig, run_id: str) -> Provider:
    """The place that a configuration names.

    Parameters
    ----------
    config : RunConfig
    run_id : str
        The run's own mark; what it left running is found again by it.
    """
    if config.on == "ssh":
        # paramiko takes a third of a second to import.
        from skygrid.nodes.ssh.provider import SshHosts

        return SshHosts(config, run_id)
    if config.on != "local":
        raise UsageError(f"nodes on {config.on} are rented: they have a price to be said first")
    return LocalProvider(config.nodes or 1, config.concurrency, config.hash_seed)


def size_of(config: RunConfig) -> tuple[int, int | None]:
    """Nodes, and slots on all of them where that is known before they are there."""
    if config.on == "local":
        provider = LocalProvider(config.nodes or 1, config.concurrency)
        return len(provider.names()), len(provider.names()) * provider.slots
    nodes = config.nodes or len(config.ssh.hosts)
    return nodes, None if config.concurrency is None else nodes * config.concurrency


def policies_of(config: RunConfig) -> QueuePolicies:
    """How a run's queue treats fits that die and nodes that fall silent."""
    # A connection that broke is noticed within its silence; only then is it known to be mended.
    timeout = limits.LEASE if config.on == "local" else limits.REMOTE_LEASE
    lease = LeasePolicy(timeout_seconds=timeout)
    return QueuePolicies(retry=RetryPolicy(retries=config.retries), lease=lease)


def settings_of(config: RunConfig, stop: StopCondition = never) -> EngineSettings:
    """What a run's engine passes on to agents, and when it stops."""
    limit = config.memory_limit_gb
    return EngineSettings(
        fit_timeout_seconds=config.fit_timeout,
        start_method=config.start_method,
        memory_limit_bytes=None if limit is None else int(limit * 2**30),
        min_nodes=config.min_nodes or (1 if config.on == "local" else size_of(config)[0]),
        stop=stop,
    )


def hours_over(config: RunConfig) -> StopCondition:
    """Whether the hours that a run may take, from now on, are over."""
    return time_limit(time.monotonic() + config.max_hours * 3600)


@contextmanager
def nodes_of(
    config: RunConfig,
    listener: Listener,
    run_id: str,
    *,
    stop: StopCondition = never,
    start: bool = True,
) -> Iterator[PullEngine]:
    """An engine on the nodes of a run, which are gone at the end.

    Parameters
    ----------
    config : RunConfig
    listener : Listener
    run_id : str
    stop : callable, optional
        When no more fits are started.
    start : bool, default=True
        Whether nodes are started at once and come up while the search is still loading; otherwise
        they are when a round has work for them.

    Raises
    ------
    SkygridError
        If the nodes cannot be had, or something of them is left.
    """
    provider = provider_of(config, run_id)
    try:
        engine = PullEngine(provider, settings_of(config, stop), listener)
        try:
            engine.start(at_once=start)
            yield engine
        finally:
            engine.close()
    finally:
        provider.close()
