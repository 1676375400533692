"""Launch of one node: order of the pools, and reaction to each answer."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

import msgspec

from skygrid.config import AwsConfig, limits
from skygrid.errors import NodeError
from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.api_errors import THROTTLED, Decision, Failure, judge
from skygrid.nodes.ec2.cloud_record import FleetStore, Launch
from skygrid.nodes.ec2.quotas import vcpu_quota
from skygrid.nodes.ec2.records import CloudNode, CloudPlan, Pool, RunMark
from skygrid.nodes.ec2.retry import delays

from .requests import check_user_data, client_token, from_answer, run_request

LOGGER = logging.getLogger(__name__)

ACTION = "ec2:RunInstances"

REPEATED = frozenset({Decision.BACK_OFF, Decision.NOT_YET_VISIBLE, Decision.NEW_TOKEN})
"""Failures after which the same launch may succeed."""


def quota_class(pool: Pool) -> str:
    """Return the code of the vCPU quota that limits a pool; without one its market and family."""
    quota = vcpu_quota(pool.market, pool.instance_type)
    family = pool.instance_type.partition(".")[0]
    return f"{pool.market} {family}" if quota is None else quota.code


class Scarcity:
    """Pools without capacity, shared by all nodes of the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dry: dict[Pool, float] = {}

    def dry(self, pool: Pool, now: float) -> None:
        """Record that a pool has no capacity."""
        with self._lock:
            self._dry[pool] = now

    def order(self, pools: tuple[Pool, ...], now: float) -> list[Pool]:
        """Return the pools in the order of trial, recently dry pools last."""
        with self._lock:
            dry = {pool for pool, since in self._dry.items() if now - since < limits.EC2_DRY}
        return sorted(pools, key=lambda pool: pool in dry)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A failed launch in one pool."""

    pool: Pool
    failure: Failure


def repeated_until(
    failure: Failure, began: float, unanswered_since: float, *, launch_timeout: float
) -> float:
    """Return the time until which a failed launch is repeated in its pool.

    A throttled call was not executed: it waits for its turn behind the calls for the run's other
    nodes. EC2 lets two launches a second through after a burst, so 100 nodes take 50 s:
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html

    Parameters
    ----------
    failure : Failure
    began, unanswered_since : float
        First call, and first failure that was not throttling, in seconds of one clock.
    launch_timeout : float
        Seconds for which throttled calls are repeated.
    """
    if failure.code in THROTTLED:
        return began + max(launch_timeout, limits.EC2_LAUNCH_AGAIN)
    if failure.decision in REPEATED:
        return unanswered_since + limits.EC2_LAUNCH_AGAIN
    return -math.inf


class Launcher:
    """Launches instances of one run, each with one accepted ``RunInstances`` call.

    Parameters
    ----------
    clients, plan, mark, store, settings
        As for `Fleet`.
    stopped : threading.Event
        Once set, no further launch is made.
    """

    def __init__(
        self,
        clients: Clients,
        plan: CloudPlan,
        mark: RunMark,
        store: FleetStore,
        settings: AwsConfig,
        stopped: threading.Event,
    ) -> None:
        self._clients = clients
        self._plan = plan
        self._mark = mark
        self._store = store
        self._settings = settings
        self._stopped = stopped
        self._scarcity = Scarcity()

    def launch(
        self, node: str, group_id: str, user_data: bytes, say: Callable[[str], None]
    ) -> CloudNode:
        """Launch a node in the first pool with capacity.

        Raises
        ------
        NodeError
            If every pool failed; the message lists them with their errors.
        """
        check_user_data(node, user_data)
        tried: list[Trial] = []
        used_up: set[str] = set()
        for pool in self._scarcity.order(self._plan.pools, time.monotonic()):
            if quota_class(pool) in used_up:
                continue
            say(f"launching {pool}")
            result = self._in_pool(node, pool, group_id, user_data, say)
            if isinstance(result, CloudNode):
                return result
            tried.append(Trial(pool=pool, failure=result))
            LOGGER.info("%s: no %s: %s", node, pool, _brief(result))
            if result.decision is Decision.QUOTA:
                used_up.add(quota_class(pool))
            elif result.decision is Decision.NEXT_POOL:
                self._scarcity.dry(pool, time.monotonic())
            else:
                break
        raise NodeError(refusal(node, self._clients.region, tried))

    def _in_pool(
        self,
        node: str,
        pool: Pool,
        group_id: str,
        user_data: bytes,
        say: Callable[[str], None],
    ) -> CloudNode | Failure:
        launch = self._intend(node, pool)
        began, unanswered_since, maybe_done = time.monotonic(), math.inf, False
        for delay in delays():
            result = self._call(launch, group_id, user_data)
            if isinstance(result, CloudNode):
                self._store.launched(launch, result.instance_id, result.launched_at)
                return result
            if result.decision is Decision.NEW_TOKEN:
                self._store.refused(launch)
                launch, maybe_done = self._intend(node, pool), False
            maybe_done |= result.maybe_done
            now = time.monotonic()
            if result.code not in THROTTLED:
                unanswered_since = min(unanswered_since, now)
            until = repeated_until(
                result, began, unanswered_since, launch_timeout=self._settings.launch_timeout
            )
            final = now + delay > until
            if not final:
                say(f"waiting to launch: {result.code}")
            if final or self._stopped.wait(delay):
                # A launch that may have been executed stays open, so that the teardown searches for
                # it.
                if not maybe_done:
                    self._store.refused(launch)
                if final:
                    return result
                raise NodeError(f"{node}: the run is being ended, so nothing more is launched")
            self._store.tried(launch, time.time())
        raise AssertionError("delays never end")

    def _intend(self, node: str, pool: Pool) -> Launch:
        if self._stopped.is_set():
            raise NodeError(f"{node}: the run is being ended, so nothing more is launched")
        return self._store.intend(
            node,
            pool,
            lambda generation: client_token(self._mark.run_id, node, generation),
            time.time(),
        )

    def _call(self, launch: Launch, group_id: str, user_data: bytes) -> CloudNode | Failure:
        architecture = self._plan.types[launch.pool.instance_type].architecture
        request = run_request(
            node=launch.node,
            pool=launch.pool,
            image=self._plan.images[architecture],
            token=launch.token,
            group_id=group_id,
            user_data=user_data,
            mark=self._mark,
            settings=self._settings,
        )
        try:
            answer = self._clients.ec2_once.run_instances(**request)
        except api_errors() as error:
            return judge(error, ACTION, self._clients.region, launch.pool)
        return from_answer(answer["Instances"][0], self._clients.region)


def refusal(node: str, region: str, tried: list[Trial]) -> str:
    """Return the message about a node that could not be launched."""
    last = tried[-1].failure
    if len(tried) == 1 and last.decision is not Decision.NEXT_POOL:
        return f"{node}: {last.text}"
    lines = [f"  {one.pool}: {_brief(one.failure)}" for one in tried]
    head = f"{node}: no instance could be had in {region}. Tried, in this order:"
    if last.decision in (Decision.NEXT_POOL, Decision.QUOTA):
        advice = (
            "Name more instance_types or zones under [aws], another market or region, or try again "
            "later."
        )
        return "\n".join([head, *lines, advice])
    return "\n".join([head, *lines, last.text])


def _brief(failure: Failure) -> str:
    if failure.decision is Decision.QUOTA:
        return failure.text
    return f"no capacity ({failure.code})" if _is_capacity(failure) else failure.text


def _is_capacity(failure: Failure) -> bool:
    return failure.decision is Decision.NEXT_POOL and failure.code.startswith("Insufficient")
