"""Time limits fit together, those of the driver and those of the worker."""

from __future__ import annotations

import itertools

import pytest

from skygrid.config import AwsConfig, SshConfig, limits
from skygrid.worker.keeper import bridge, keeper


def ordered(*seconds: float) -> bool:
    """Return whether each limit is shorter than the next."""
    return all(one < next_one for one, next_one in itertools.pairwise(seconds))


@pytest.mark.parametrize("settings", [SshConfig(), AwsConfig()])
def test_a_broken_connection_is_noticed_before_leases_expire_and_nodes_are_lost(
    settings: SshConfig | AwsConfig,
) -> None:
    """Ping < silence < lease < lost node < agent without a driver."""
    assert ordered(
        limits.PING,
        limits.CONNECTION_SILENCE,
        limits.REMOTE_LEASE,
        settings.lost_after,
        settings.orphan_after,
    )


def test_keepers_ping_before_either_end_takes_the_connection_for_dead() -> None:
    """Two pings of either side may be late before the other side gives the connection up."""
    assert 2 * keeper.PING_SECONDS < limits.CONNECTION_SILENCE
    assert 2 * limits.PING < keeper.SILENCE_SECONDS


def test_agents_renew_their_leases_in_time() -> None:
    """Two heartbeats may be late before the leases of a node expire, here and elsewhere."""
    assert ordered(2 * limits.HEARTBEAT, limits.LEASE, limits.REMOTE_LEASE)


def test_a_node_that_is_busy_starting_is_not_lost() -> None:
    """A silent start has longer than a lease; a bridge has time to start a keeper."""
    assert ordered(limits.LEASE, limits.REMOTE_LEASE, limits.START_SILENCE)
    assert bridge.START_SECONDS < limits.HOST_BRIDGE


def test_an_instance_ends_itself_after_its_driver_gave_it_up() -> None:
    """Lost node < agent without a driver < lease of the instance, which is renewed many times."""
    settings = AwsConfig()
    lease = settings.lease_minutes * 60
    assert ordered(settings.lost_after, settings.orphan_after, lease)
    assert ordered(10 * keeper.LEASE_SECONDS, lease)
    assert ordered(10 * limits.HOST_RENEW, lease)


def test_a_launch_that_is_tried_again_ends_within_its_time_limit() -> None:
    """Back-off < repeated launch < limit of a launch; a dry pool is tried last for longer."""
    assert ordered(limits.EC2_RETRY_FIRST, limits.EC2_RETRY_LONGEST, limits.EC2_LAUNCH_AGAIN)
    assert ordered(limits.EC2_LAUNCH_AGAIN, limits.EC2_DRY, AwsConfig().launch_timeout)


def test_a_teardown_outlasts_what_it_waits_for() -> None:
    """Instances are told again, and become visible, well within the time for their end."""
    assert ordered(limits.EC2_END_AGAIN, limits.EC2_VISIBLE, limits.EC2_GROUP_END, limits.EC2_END)
