"""The engine of a run, and the settings of engine and queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.engine.settings import EngineSettings
from skygrid.engine.stopping import (
    StartCondition,
    StopCondition,
    never,
    time_limit,
    unbounded,
)
from skygrid.listener import Listener
from skygrid.nodes.registry import place_named, place_of
from skygrid.queue.policies import LeasePolicy, QueuePolicies, RetryPolicy
from skygrid.run.interrupts import acknowledges
from skygrid.util.process import Interruption
from skygrid.util.terminal import say


def policies_of(config: RunConfig) -> QueuePolicies:
    """Return the policies of a run's queue: retries and lease timeout."""
    lease = LeasePolicy(timeout_seconds=place_named(config.on).lease_seconds)
    return QueuePolicies(retry=RetryPolicy(retries=config.retries), lease=lease)


def call_policies_of(config: RunConfig) -> QueuePolicies:
    """Return the policies for calls: a slow one gets no copy, because it may have side effects."""
    fits = policies_of(config)
    return replace(fits, retry=replace(fits.retry, noun="call"), speculation=None)


def settings_of(
    config: RunConfig, stop: StopCondition = never, may_not_start: StartCondition = unbounded
) -> EngineSettings:
    """Return the settings of a run's engine."""
    limit = config.memory_limit_gb
    return EngineSettings(
        fit_timeout_seconds=config.fit_timeout,
        start_method=config.start_method,
        memory_limit_bytes=None if limit is None else int(limit * 2**30),
        min_nodes=config.min_nodes or place_of(config).min_nodes(config),
        stop=stop,
        may_not_start=may_not_start,
    )


def hours_over(config: RunConfig) -> StopCondition:
    """Return a condition that holds once `max_hours` from now are over."""
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
    """Yield an engine on the nodes of a run; end the nodes after the block.

    Parameters
    ----------
    config : RunConfig
    listener : Listener
    run_id : str
    stop : callable, optional
        Condition under which no more fits start.
    start : bool, default=True
        True: start nodes at once, while the search loads. False: start them when a round has work
        for them.

    Raises
    ------
    SkygridError
        If nodes cannot be had, or something is left of them.
    """
    provider = place_of(config).provider(config, run_id)
    try:
        engine = PullEngine(provider, settings_of(config, stop), listener)
        try:
            engine.start(at_once=start)
            yield engine
        except (Interruption, KeyboardInterrupt):
            if not acknowledges():
                say("interrupted: ending what was started; once more to stop at once")
            raise
        finally:
            engine.close()
    finally:
        provider.close()
