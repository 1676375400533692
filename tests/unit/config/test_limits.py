"""Time limits of driver and worker have the right order."""

from __future__ import annotations

import itertools

import pytest

from skygrid.config import AwsConfig, CommandConfig, SlurmConfig, SshConfig, limits
from skygrid.engine import room
from skygrid.worker import limits as worker


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
    assert 2 * worker.KEEPER_PING_SECONDS < limits.CONNECTION_SILENCE
    assert 2 * limits.PING < worker.KEEPER_SILENCE_SECONDS
    assert ordered(worker.KEEPER_TICK_SECONDS, worker.KEEPER_PING_SECONDS)


def test_agents_renew_their_leases_in_time() -> None:
    """A lease lasts longer than two heartbeats; a lease of a remote node lasts longer still."""
    assert ordered(2 * limits.HEARTBEAT, limits.LEASE, limits.REMOTE_LEASE)
    assert ordered(worker.AGENT_TICK_SECONDS, worker.RECEIVING_SECONDS, limits.HEARTBEAT)
    assert ordered(worker.AGENT_TICK_SECONDS, worker.REPORT_SECONDS, limits.HEARTBEAT)


def test_a_node_that_is_busy_starting_is_not_lost() -> None:
    """A silent start may last longer than a lease."""
    assert ordered(limits.LEASE, limits.REMOTE_LEASE, limits.START_SILENCE, limits.PREPARE)


def test_a_node_may_be_silent_before_it_is_blamed_for_its_work() -> None:
    """Silence ends a lease sooner than an unanswered recall, and that sooner than no start."""
    assert ordered(limits.REMOTE_LEASE, limits.RECALL_ANSWER, limits.START_SILENCE, limits.STALL)


def test_a_bridge_has_time_to_replace_a_keeper() -> None:
    """A keeper ends its agent before it is killed; then the next one starts."""
    ends = worker.AGENT_END_SECONDS + worker.KEEPER_LOCK_SECONDS
    replaced = worker.KEEPER_END_SECONDS + worker.KEEPER_START_SECONDS
    assert ordered(ends, worker.KEEPER_END_SECONDS)
    assert ordered(replaced, limits.HOST_BRIDGE)
    # A bridge that waits for another one allows for a keeper that hangs.
    assert ordered(worker.KEEPER_CONNECT_SECONDS + replaced, worker.BRIDGE_LOCK_SECONDS)


@pytest.mark.parametrize("settings", [SshConfig(), AwsConfig()])
def test_a_driver_may_connect_again_during_the_first_visit(settings: SshConfig | AwsConfig) -> None:
    """Silence < first visit of a new keeper < later absence of a driver."""
    first = worker.FIRST_VISIT_SECONDS
    assert ordered(limits.CONNECTION_SILENCE, first, settings.orphan_after)


def test_an_instance_ends_itself_after_its_driver_gave_it_up() -> None:
    """A node is lost before its agent ends, and the agent ends before its instance."""
    settings = AwsConfig()
    lease = settings.lease_minutes * 60
    assert ordered(settings.lost_after, settings.orphan_after, lease)
    assert ordered(10 * worker.LEASE_RENEWAL_SECONDS, lease)
    assert ordered(10 * limits.HOST_RENEW, lease)


def test_a_repeated_launch_ends_within_its_time_limit() -> None:
    """A launch is repeated for longer than a pause, and a pool stays dry for longer than that."""
    assert ordered(limits.EC2_RETRY_FIRST, limits.EC2_RETRY_LONGEST, limits.EC2_LAUNCH_AGAIN)
    assert ordered(limits.EC2_LAUNCH_AGAIN, limits.EC2_DRY, AwsConfig().launch_timeout)


def test_time_limits_of_a_teardown() -> None:
    """Repeated requests, visibility and the end of a group fit into the limit of a teardown."""
    assert ordered(limits.EC2_END_AGAIN, limits.EC2_VISIBLE, limits.EC2_GROUP_END, limits.EC2_END)


def test_a_message_fits_into_everything_that_it_passes() -> None:
    """Exceptions < result < message of a slot < frame < data that waits on its way."""
    assert ordered(4 * worker.EXCEPTION_ROOM, worker.MAX_RESULT, worker.MAX_NEWS, worker.MAX_FRAME)
    assert ordered(worker.MAX_FIRST_FRAME, worker.MAX_FRAME, room.MOST_BYTES)
    assert ordered(worker.CHUNK_BYTES, worker.MAX_FRAME, worker.MOST_QUEUED)
    assert ordered(worker.MAX_FRAME, worker.MOST_UNSENT)


def test_printed_text_never_fills_a_stream() -> None:
    """Text is dropped, and received bytes are acknowledged, long before a stream is full."""
    assert ordered(worker.MOST_PRINTED, worker.MOST_UNSENT)
    assert ordered(worker.DATA_BYTES, worker.ACK_BYTES, worker.MOST_UNSENT)


@pytest.mark.parametrize("settings", [CommandConfig(), SlurmConfig()])
def test_an_agent_that_hears_its_driver_does_not_end(
    settings: CommandConfig | SlurmConfig,
) -> None:
    """An agent without a channel's end misses several signs of life before it ends."""
    shortest = 30.0  # what the config allows
    assert ordered(2 * limits.ALIVE, shortest, settings.orphan_after)
    assert ordered(limits.SLURM_LOOK_FIRST, limits.SLURM_LOOK, settings.start_timeout)


def test_a_result_within_a_message_leaves_room_for_others() -> None:
    """Several results of calls fit into a message, and a part of a large result does too."""
    assert ordered(worker.INLINE_BYTES, worker.CHUNK_BYTES, worker.MAX_RESULT, worker.MAX_FRAME)
