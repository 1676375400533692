"""Time limits of driver and worker have the right order."""

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
    """Each side allows two late pings before it closes the connection."""
    assert 2 * keeper.PING_SECONDS < limits.CONNECTION_SILENCE
    assert 2 * limits.PING < keeper.SILENCE_SECONDS


def test_agents_renew_their_leases_in_time() -> None:
    """A lease lasts longer than two heartbeats; a lease of a remote node lasts longer still."""
    assert ordered(2 * limits.HEARTBEAT, limits.LEASE, limits.REMOTE_LEASE)


def test_a_node_that_is_busy_starting_is_not_lost() -> None:
    """A silent start may last longer than a lease, and a bridge longer than its keeper's start."""
    assert ordered(limits.LEASE, limits.REMOTE_LEASE, limits.START_SILENCE)
    assert bridge.START_SECONDS < limits.HOST_BRIDGE


def test_an_instance_ends_itself_after_its_driver_gave_it_up() -> None:
    """A node is lost before its agent ends, and the agent ends before its instance."""
    settings = AwsConfig()
    lease = settings.lease_minutes * 60
    assert ordered(settings.lost_after, settings.orphan_after, lease)
    assert ordered(10 * keeper.LEASE_SECONDS, lease)
    assert ordered(10 * limits.HOST_RENEW, lease)


def test_a_repeated_launch_ends_within_its_time_limit() -> None:
    """A launch is repeated for longer than a pause, and a pool stays dry for longer than that."""
    assert ordered(limits.EC2_RETRY_FIRST, limits.EC2_RETRY_LONGEST, limits.EC2_LAUNCH_AGAIN)
    assert ordered(limits.EC2_LAUNCH_AGAIN, limits.EC2_DRY, AwsConfig().launch_timeout)


def test_time_limits_of_a_teardown() -> None:
    """Repeated requests, visibility and the end of a group fit into the limit of a teardown."""
    assert ordered(limits.EC2_END_AGAIN, limits.EC2_VISIBLE, limits.EC2_GROUP_END, limits.EC2_END)
