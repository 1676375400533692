"""A node that does not become ready for a round is lost; one whose data arrives is not."""

from __future__ import annotations

from skygrid.config import limits
from skygrid.engine.preparation import Preparation

BEGIN = Preparation(since=1000.0)


def test_a_node_may_load_for_the_whole_limit() -> None:
    """Loading without progress ends at the limit, and not before it."""
    assert BEGIN.fault(1000.0 + limits.PREPARE - 1) is None
    fault = BEGIN.fault(1000.0 + limits.PREPARE)
    assert fault == "it did not become ready for fits within 600 s"


def test_heartbeats_without_progress_do_not_count() -> None:
    """The same facts again, fewer bytes or a smaller part are no progress."""
    node = BEGIN.went_on(100, 0.5, 1001.0)
    for sent, received in ((100, 0.5), (100, None), (50, 0.1), (100, 0.5001)):
        assert node.went_on(sent, received, 2000.0) is node


def test_data_that_arrives_is_progress() -> None:
    """Bytes from the driver or from elsewhere prolong the wait, for hours if need be."""
    node, now = BEGIN, BEGIN.since
    for step in range(1, 100):
        now += limits.PREPARE - 1
        assert node.fault(now) is None
        node = (
            node.went_on(step * 1000, None, now) if step % 2 else node.went_on(0, step / 100, now)
        )
    assert node.fault(now + limits.PREPARE)


def test_an_interrupted_connection_is_no_fault() -> None:
    """The time in which a connection is restored does not count."""
    node = BEGIN.interrupted(1000.0 + limits.PREPARE)
    assert node.fault(1000.0 + 1.5 * limits.PREPARE) is None
