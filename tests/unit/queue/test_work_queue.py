"""The work queue: order, reports, deaths, losses, speculation and recalls."""

from __future__ import annotations

import math

import pytest

from skygrid.queue.policies import (
    Fault,
    LeasePolicy,
    QueuePolicies,
    RetryPolicy,
    SpeculationPolicy,
)
from skygrid.queue.verdicts import Completion, Quarantine, Retry, Verdict
from skygrid.queue.work_queue import WorkQueue
from skygrid.worker.wire.messages.to_agent import Lease
from tests.queue_state import hungry, task_of

SILENT = Fault(reason="it fell silent", silent=True)


def make_queue(
    n_candidates: int = 3,
    n_splits: int = 2,
    *,
    recorded: tuple[tuple[int, int, float, float], ...] = (),
    retry: RetryPolicy | None = None,
    speculation: SpeculationPolicy | None = None,
    first_lease_id: int = 0,
    by_split: bool = False,
) -> WorkQueue:
    policies = QueuePolicies(
        retry=retry or RetryPolicy(retries=2),
        speculation=speculation,
        lease=LeasePolicy(timeout_seconds=15.0, recall_seconds=1.0),
    )
    return WorkQueue(
        round=0,
        n_candidates=n_candidates,
        n_splits=n_splits,
        recorded=recorded,
        by_split=by_split,
        policies=policies,
        first_lease_id=first_lease_id,
    )


def tasks(leases: list[Lease]) -> list[tuple[int, int]]:
    return [(lease.candidate, lease.split) for lease in leases]


def verdict(queue: WorkQueue, node: str, lease: Lease, seconds: float = 1.0) -> Verdict:
    return queue.complete(node, lease.id, seconds, 0.0).verdict


def counts(queue: WorkQueue) -> tuple[int, int, int]:
    return queue.pending, queue.leased, queue.ended


class TestOrder:
    def test_first_splits_first(self) -> None:
        """Split 0 of each candidate goes out first, in candidate order."""
        assert tasks(make_queue().pull("a", 3, 0.0)) == [(0, 0), (1, 0), (2, 0)]

    def test_longest_first(self) -> None:
        """Once the first splits are timed, the others go longest first."""
        queue = make_queue(3, 3)
        for lease, seconds in zip(queue.pull("a", 3, 0.0), (1.0, 5.0, 3.0), strict=True):
            queue.complete("a", lease.id, seconds, 0.0)
        order = [(1, 1), (1, 2), (2, 1), (2, 2), (0, 1), (0, 2)]
        assert tasks(queue.pull("a", 9, 0.0)) == order

    def test_split_by_split(self) -> None:
        """With by_split, one split is leased after the other, each with the longest fits first."""
        queue = make_queue(3, 3, by_split=True)
        for lease, seconds in zip(queue.pull("a", 3, 0.0), (1.0, 5.0, 3.0), strict=True):
            queue.complete("a", lease.id, seconds, 0.0)
        order = [(1, 1), (2, 1), (0, 1), (1, 2), (2, 2), (0, 2)]
        assert tasks(queue.pull("a", 9, 0.0)) == order

    def test_split_by_split_without_estimates(self) -> None:
        """Splits go out in order; within a split, candidates without an estimate go first."""
        queue = make_queue(3, 3, by_split=True)
        first = queue.pull("a", 5, 0.0)
        assert tasks(first) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]
        queue.complete("a", first[0].id, 9.0, 0.0)
        assert tasks(queue.pull("a", 9, 0.0)) == [(2, 1), (1, 2), (2, 2), (0, 2)]

    def test_split_by_split_takes_returned_tasks(self) -> None:
        """A returned task is leased again, also after later splits."""
        queue = make_queue(2, 3, by_split=True)
        for lease in queue.pull("a", 2, 0.0):
            queue.complete("a", lease.id, 1.0, 0.0)
        back = queue.pull("a", 1, 0.0)[0]
        assert tasks(queue.pull("b", 3, 0.0)) == [(1, 1), (0, 2), (1, 2)]
        queue.returned("a", [back.id], 0.0)
        assert tasks(queue.pull("b", 9, 0.0)) == [(0, 1)]

    def test_ties_go_to_the_lower_candidate(self) -> None:
        """Tasks with equal estimates go out in candidate order, then split order."""
        queue = make_queue(2, 3)
        for lease in reversed(queue.pull("a", 2, 0.0)):
            queue.complete("a", lease.id, 1.0, 0.0)
        assert tasks(queue.pull("a", 9, 0.0)) == [(0, 1), (0, 2), (1, 1), (1, 2)]

    def test_no_slot_waits_for_estimates(self) -> None:
        """While every first split runs, other splits go out in candidate order."""
        queue = make_queue(2, 2)
        assert tasks(queue.pull("a", 9, 0.0)) == [(0, 0), (1, 0), (0, 1), (1, 1)]

    def test_estimated_before_unestimated(self) -> None:
        """A task with an estimate goes before one without."""
        queue = make_queue(2, 2)
        queue.complete("a", queue.pull("a", 2, 0.0)[1].id, 0.001, 0.0)
        assert tasks(queue.pull("a", 2, 0.0)) == [(1, 1), (0, 1)]

    def test_resumed_times_are_estimates(self) -> None:
        """A recorded first split is an estimate and is not run again."""
        queue = make_queue(
            3, 2, recorded=((0, 0, 1.0, 0.0), (1, 0, 9.0, 0.0), (2, 0, 5.0, 0.0), (1, 1, 9.0, 0.0))
        )
        assert tasks(queue.pull("a", 9, 0.0)) == [(2, 1), (0, 1)]

    def test_returned_first_splits_stay_first(self) -> None:
        """A returned first split goes before all estimated tasks."""
        queue = make_queue(2, 2)
        first, second = queue.pull("a", 2, 0.0)
        queue.complete("a", second.id, 1.0, 0.0)
        queue.returned("a", [first.id], 0.0)
        assert tasks(queue.pull("b", 9, 0.0)) == [(0, 0), (1, 1), (0, 1)]

    def test_invalid_times(self) -> None:
        """Times that are NaN, negative or infinite do not break the queue."""
        queue = make_queue(3, 2)
        nonsense = (math.nan, -1.0, math.inf)
        for lease, seconds in zip(queue.pull("a", 3, 0.0), nonsense, strict=True):
            queue.complete("a", lease.id, seconds, 0.0)
        assert tasks(queue.pull("a", 9, 0.0)) == [(2, 1), (0, 1), (1, 1)]


class TestConstruction:
    @pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
    def test_empty_round(self, size: tuple[int, int]) -> None:
        """A round without tasks is finished from the start."""
        queue = make_queue(*size)
        assert queue.finished
        assert queue.pull("a", 1, 0.0) == []

    def test_fully_recorded_round(self) -> None:
        """A round that the journal holds completely is finished from the start."""
        recorded = tuple((c, s, 1.0, 0.0) for c in range(3) for s in range(2))
        assert make_queue(recorded=recorded).finished

    def test_recorded_twice_counts_once(self) -> None:
        """An outcome that is recorded twice ends one task."""
        assert make_queue(recorded=((0, 0, 1.0, 0.0), (0, 0, 1.0, 0.0))).ended == 1

    @pytest.mark.parametrize("task", [(3, 0), (0, 2), (-1, 0), (0, -1)])
    def test_recorded_outside_the_round(self, task: tuple[int, int]) -> None:
        """A recorded outcome outside the round is refused."""
        with pytest.raises(ValueError, match="in round 0"):
            make_queue(recorded=((*task, 1.0, 0.0),))

    def test_lease_ids_continue(self) -> None:
        """Lease ids count up from the first one given, and the next id is available."""
        queue = make_queue(first_lease_id=40)
        assert [lease.id for lease in queue.pull("a", 2, 0.0)] == [40, 41]
        assert queue.next_lease_id == 42


class TestReports:
    def test_first_then_late(self) -> None:
        """The first report of a task counts; the second of the same lease is late."""
        queue = make_queue()
        (lease,) = queue.pull("a", 1, 0.0)
        first = queue.complete("a", lease.id, 1.0, 0.0)
        assert first == Completion(verdict=Verdict.FIRST, candidate=0, split=0, attempt=1)
        assert verdict(queue, "a", lease) is Verdict.LATE
        assert counts(queue) == (5, 0, 1)

    def test_false_reports_are_unknown(self) -> None:
        """A report under an unknown lease or another node's changes nothing."""
        queue = make_queue()
        (lease,) = queue.pull("a", 1, 0.0)
        queue.pull("b", 1, 0.0)
        for node, lease_id in (("b", lease.id), ("stranger", lease.id), ("a", 99), ("a", -1)):
            assert queue.complete(node, lease_id, 1.0, 0.0).verdict is Verdict.UNKNOWN
            assert task_of(queue, node, lease_id) is None
            assert queue.slot_died(node, lease_id, "signal", 0.0) is None
            queue.returned(node, [lease_id], 0.0)
        assert counts(queue) == (4, 2, 0)

    def test_a_returned_lease_cannot_be_reported(self) -> None:
        """A report under a returned lease is unknown."""
        queue = make_queue()
        (lease,) = queue.pull("a", 1, 0.0)
        queue.returned("a", [lease.id], 0.0)
        assert verdict(queue, "a", lease) is Verdict.UNKNOWN

    def test_returned_unstarted_is_no_attempt(self) -> None:
        """A task that was returned unstarted is still at its first attempt."""
        queue = make_queue(1, 1)
        queue.returned("a", [queue.pull("a", 1, 0.0)[0].id], 0.0)
        (lease,) = queue.pull("b", 1, 0.0)
        assert task_of(queue, "b", lease.id) == (0, 0, 1)

    def test_returned_unstarted_between_attempts(self) -> None:
        """A lease returned unstarted does not count as a later attempt either."""
        queue = make_queue(1, 1)
        queue.pull("a", 1, 0.0)
        queue.node_lost("a")
        queue.returned("b", [queue.pull("b", 1, 0.0)[0].id], 0.0)
        (lease,) = queue.pull("b", 1, 0.0)
        assert task_of(queue, "b", lease.id) == (0, 0, 2)

    def test_a_report_under_an_expired_lease_counts(self) -> None:
        """The outcome of a lost node counts, and the new holder of the task abandons it."""
        queue = make_queue(1, 1)
        (old,) = queue.pull("a", 1, 0.0)
        queue.node_lost("a")
        (new,) = queue.pull("b", 1, 1.0)
        answer = queue.complete("a", old.id, 1.0, 2.0)
        assert answer.verdict is Verdict.FIRST
        assert answer.abandon == (("b", new.id),)
        assert verdict(queue, "b", new) is Verdict.LATE
        assert queue.finished

    def test_a_report_under_an_expired_lease_ends_a_waiting_task(self) -> None:
        """A task that ends while it waits in the queue is not leased any more."""
        queue = make_queue(1, 1)
        (old,) = queue.pull("a", 1, 0.0)
        queue.node_lost("a")
        assert verdict(queue, "a", old) is Verdict.FIRST
        assert queue.pull("b", 1, 1.0) == []

    def test_task_of_an_ended_task(self) -> None:
        """A lease whose task has ended is unknown."""
        queue = make_queue()
        (lease,) = queue.pull("a", 1, 0.0)
        assert task_of(queue, "a", lease.id) == (0, 0, 1)
        verdict(queue, "a", lease)
        assert task_of(queue, "a", lease.id) is None


class TestDeaths:
    def test_retries_go_first_and_elsewhere(self) -> None:
        """A task that killed its slot goes next, but not to the same node."""
        queue = make_queue()
        (lease,) = queue.pull("a", 1, 0.0)
        queue.pull("b", 1, 0.0)
        death = queue.slot_died("a", lease.id, "signal", 0.0)
        assert death == Retry(candidate=0, split=0, attempt=1, alone=False)
        assert (0, 0) not in tasks(queue.pull("a", 2, 0.0))
        (again,) = queue.pull("b", 1, 0.0)
        assert tasks([again]) == [(0, 0)]
        assert task_of(queue, "b", again.id) == (0, 0, 2)

    def test_the_only_node_gets_its_retry(self) -> None:
        """Without another live node, the retry goes to the node where it died."""
        queue = make_queue(1, 1)
        (lease,) = queue.pull("a", 1, 0.0)
        queue.pull("b", 1, 0.0)
        queue.slot_died("a", lease.id, "signal", 0.0)
        assert queue.pull("a", 1, 0.0) == []
        queue.node_lost("b")
        assert tasks(queue.pull("a", 1, 0.0)) == [(0, 0)]

    def test_a_retry_that_died_on_every_node_goes_anywhere(self) -> None:
        """A task that died on every live node is still leased."""
        queue = make_queue(1, 1, retry=RetryPolicy(retries=5))
        queue.pull("b", 0, 0.0)
        for node in ("a", "b"):
            queue.slot_died(node, queue.pull(node, 1, 0.0)[0].id, "exit", 0.0)
        assert len(queue.pull("a", 1, 0.0)) == 1

    def test_last_attempt_alone_then_quarantine(self) -> None:
        """The last allowed attempt runs alone; its death ends the task."""
        queue = make_queue(1, 1)
        alone, deaths = [], []
        for cause in ("signal", "exit", "memory"):
            (lease,) = queue.pull("a", 1, 0.0)
            alone.append(lease.alone)
            deaths.append(queue.slot_died("a", lease.id, cause, 0.0))  # type: ignore[arg-type]
        assert alone == [False, False, True]
        end = deaths[-1]
        assert isinstance(end, Quarantine)
        assert (end.candidate, end.split, end.attempt, end.node) == (0, 0, 3, "a")
        assert "signal, exit, memory" in end.reason
        assert queue.finished

    def test_the_second_timeout_ends_the_task(self) -> None:
        """A fit that times out is retried once."""
        queue = make_queue(1, 1, retry=RetryPolicy(retries=7))
        for expected in (Retry, Quarantine):
            (lease,) = queue.pull("a", 1, 0.0)
            assert isinstance(queue.slot_died("a", lease.id, "timeout", 0.0), expected)

    def test_a_quarantined_first_split_keeps_no_split_waiting(self) -> None:
        """The other splits of a candidate run after its first split was quarantined."""
        queue = make_queue(1, 3, retry=RetryPolicy(retries=0))
        queue.slot_died("a", queue.pull("a", 1, 0.0)[0].id, "signal", 0.0)
        assert tasks(queue.pull("a", 9, 0.0)) == [(0, 1), (0, 2)]


class TestLosses:
    def test_lost_tasks_return_without_a_charge(self) -> None:
        """Tasks of a lost node go to others, and a later death counts as their first."""
        queue = make_queue(2, 1, retry=RetryPolicy(retries=1))
        queue.pull("a", 2, 0.0)
        assert queue.node_lost("a") == 2
        assert counts(queue) == (2, 0, 0)
        first, _ = queue.pull("b", 2, 0.0)
        assert task_of(queue, "b", first.id) == (0, 0, 2)
        assert isinstance(queue.slot_died("b", first.id, "signal", 0.0), Retry)

    def test_the_loss_of_an_unknown_node_changes_nothing(self) -> None:
        """The loss of a node that never pulled, or a second loss, changes nothing."""
        queue = make_queue()
        queue.pull("a", 1, 0.0)
        assert queue.node_lost("b") == 0
        assert queue.node_lost("a") == 1
        assert queue.node_lost("a") == 0

    def test_silence_expires_a_node(self) -> None:
        """The leases of a node expire after the timeout since its last renewal."""
        queue = make_queue()
        queue.pull("a", 2, 0.0)
        queue.pull("b", 1, 0.0)
        queue.renew("a", 10.0)
        assert queue.expire(14.9) == []
        assert queue.expire(15.0) == [("b", SILENT)]
        assert queue.expire(24.9) == []
        assert queue.expire(25.0) == [("a", SILENT)]
        assert counts(queue) == (6, 0, 0)

    def test_a_node_that_keeps_recalled_leases_loses_them(self) -> None:
        """A node that sends heartbeats and returns nothing loses its leases after a minute."""
        queue = make_queue()
        queue.pull("a", 6, 0.0)
        queue.pull("b", 1, 0.0)
        assert queue.recall(1.0) == [("a", 1)]
        for now in (1.0, 60.9, 61.0):
            queue.renew("a", now)
            queue.renew("b", now)
        assert queue.expire(60.9) == []
        reason = "it did not answer for 60 s when fits were asked back"
        assert queue.expire(61.0) == [("a", Fault(reason=reason, silent=False))]
        assert counts(queue) == (6, 0, 0)

    def test_a_node_that_starts_nothing_loses_its_leases(self) -> None:
        """A node that sends heartbeats and starts no fit loses its leases after ten minutes."""
        queue = make_queue()
        queue.pull("a", 6, 0.0)
        queue.renew("a", 600.0)
        assert queue.expire(599.9) == []
        reason = "it held fits for 600 s and started none"
        assert queue.expire(600.0) == [("a", Fault(reason=reason, silent=False))]

    def test_a_node_out_of_reach_is_not_blamed(self) -> None:
        """While its connection is restored, a node cannot answer, and loses nothing for that."""
        queue = make_queue()
        queue.pull("a", 6, 0.0)
        queue.pull("b", 1, 0.0)
        queue.recall(1.0)
        queue.renew("a", 700.0, reachable=False)
        queue.renew("b", 700.0)
        assert queue.expire(701.0) == []

    def test_a_node_that_data_reaches_is_not_blamed(self) -> None:
        """While its arguments arrive, a node can neither start leases nor return them."""
        queue = make_queue()
        queue.pull("a", 6, 0.0)
        queue.pull("b", 1, 0.0)
        queue.recall(1.0)
        for now in (50.0, 100.0, 650.0):
            queue.transferred("a", now)
        queue.started("b", [7], 650.0)
        for now in (651.0, 710.0):
            queue.renew("a", now)
            queue.renew("b", now)
        assert queue.expire(709.9) == []
        reason = "it did not answer for 60 s when fits were asked back"
        assert queue.expire(710.0) == [("a", Fault(reason=reason, silent=False))]

    def test_a_fit_that_runs_long_keeps_its_node(self) -> None:
        """Leases that wait behind a running fit are no reason to drop a node."""
        queue = make_queue()
        lease, *_ = queue.pull("a", 6, 0.0)
        queue.started("a", [lease.id], 1.0)
        queue.renew("a", 9000.0)
        assert queue.expire(9000.0) == []

    def test_a_lost_node_may_return(self) -> None:
        """A lost node that pulls again works like any other."""
        queue = make_queue(1, 1)
        (old,) = queue.pull("a", 1, 0.0)
        queue.expire(100.0)
        queue.renew("a", 100.0)
        (new,) = queue.pull("a", 1, 100.0)
        assert new.id != old.id
        assert verdict(queue, "a", new) is Verdict.FIRST
        assert verdict(queue, "a", old) is Verdict.LATE

    def test_only_the_task_that_kills_nodes_is_quarantined(self) -> None:
        """Of all tasks that run when nodes are lost, only the one that causes it is given up."""
        queue = make_queue(40, 1, retry=RetryPolicy(max_node_losses=5))
        poison, given_up = 7, []
        for generation in range(200):
            if queue.finished:
                break
            node = f"node-{generation}"
            while leases := queue.pull(node, 10, 0.0):
                # An agent runs a lease that is alone before it starts others.
                leases.sort(key=lambda lease: not lease.alone)
                for lease in leases:
                    if lease.candidate == poison:
                        queue.node_lost(node)
                        break
                    queue.complete(node, lease.id, 1.0, 0.0)
                else:
                    continue
                break
            given_up += queue.take_quarantined()
        assert queue.finished
        assert [task.candidate for task in given_up] == [poison]
        assert "6 nodes" in given_up[0].reason

    def test_a_bad_node_among_others_ends_no_task(self) -> None:
        """A task that was in hand at two losses of a node goes to another one that works."""
        queue = make_queue(2, 1, retry=RetryPolicy(max_node_losses=5))
        for _ in range(2):
            assert len(queue.pull("bad", 2, 0.0)) == 2
            queue.node_lost("bad")
        assert queue.pull("good", 1, 0.0)[0].alone
        assert queue.pull("bad", 2, 0.0) == []
        assert queue.take_quarantined() == []

    def test_a_task_returns_to_a_bad_node_if_no_other_takes_it(self) -> None:
        """A node that does nothing keeps no task from the only one that works."""
        queue = make_queue(1, 1, retry=RetryPolicy(max_node_losses=5))
        queue.pull("idle", 0, 0.0)
        losses = 0
        while queue.pull("only", 1, 0.0):
            queue.node_lost("only")
            losses += 1
        assert losses == 6
        assert [task.node for task in queue.take_quarantined()] == ["only"]

    def test_a_node_that_does_not_do_its_work_charges_no_task(self) -> None:
        """A task is not charged when its node sends heartbeats and starts nothing."""
        queue = make_queue(1, 1, retry=RetryPolicy(max_node_losses=0))
        queue.pull("a", 1, 0.0)
        queue.renew("a", 600.0)
        assert len(queue.expire(600.0)) == 1
        assert queue.take_quarantined() == []
        assert queue.pending == 1

    def test_losses_that_no_task_caused_are_not_charged(self) -> None:
        """A task whose nodes left with notice, or lied, is neither isolated nor given up."""
        queue = make_queue(1, 1, retry=RetryPolicy(max_node_losses=1, isolate_after=1))
        for number in range(5):
            (lease,) = queue.pull(f"node-{number}", 1, 0.0)
            assert not lease.alone
            queue.node_lost(f"node-{number}", charged=False)
        assert queue.take_quarantined() == []
        assert queue.pending == 1

    def test_a_round_waits_for_its_quarantined_tasks(self) -> None:
        """A round is finished once its quarantined tasks were taken."""
        queue = make_queue(1, 1, retry=RetryPolicy(max_node_losses=0))
        queue.pull("a", 1, 0.0)
        queue.node_lost("a")
        assert (queue.ended, queue.finished) == (1, False)
        assert [task.node for task in queue.take_quarantined()] == ["a"]
        assert queue.finished
        assert queue.take_quarantined() == []


class TestSpeculation:
    POLICY = SpeculationPolicy(minimum_seconds=10.0, factor=2.0)

    def overdue_queue(self) -> tuple[WorkQueue, list[Lease]]:
        """Return a queue whose node a runs two tasks since 0, estimated at 1 s and 20 s."""
        queue = make_queue(
            2, 2, recorded=((0, 0, 1.0, 0.0), (1, 0, 20.0, 0.0)), speculation=self.POLICY
        )
        leases = queue.pull("a", 2, 0.0)
        queue.started("a", [lease.id for lease in leases], 0.0)
        return queue, leases

    def test_overdue_fits_are_copied_once(self) -> None:
        """The most overdue fit is copied first, on another node, and at most once."""
        queue, _ = self.overdue_queue()
        assert queue.pull("b", 9, 10.0) == []
        assert tasks(queue.pull("b", 1, 11.0)) == [(0, 1)]
        assert queue.pull("a", 9, 100.0) == []
        assert tasks(queue.pull("b", 9, 100.0)) == [(1, 1)]
        assert queue.pull("c", 9, 200.0) == []
        assert counts(queue) == (0, 2, 2)

    def test_the_first_copy_cancels_the_other(self) -> None:
        """The copy that ends first counts; the other is abandoned."""
        queue, leases = self.overdue_queue()
        short, long = queue.pull("b", 2, 100.0)
        answer = queue.complete("b", short.id, 1.0, 101.0)
        assert (answer.verdict, answer.attempt) == (Verdict.FIRST, 2)
        assert answer.abandon == (("a", leases[1].id),)
        answer = queue.complete("a", leases[0].id, 1.0, 102.0)
        assert answer.abandon == (("b", long.id),)
        assert queue.finished

    def test_the_median_replaces_an_estimate(self) -> None:
        """A fit without an estimate is compared with the median of all fits."""
        queue = make_queue(
            4,
            1,
            recorded=((0, 0, 1.0, 0.0), (1, 0, 30.0, 0.0), (2, 0, 99.0, 0.0)),
            speculation=self.POLICY,
        )
        (lease,) = queue.pull("a", 1, 0.0)
        queue.started("a", [lease.id], 0.0)
        assert queue.pull("b", 1, 60.0) == []
        assert len(queue.pull("b", 1, 60.1)) == 1

    def test_waiting_tasks_come_before_copies(self) -> None:
        """New work goes before second copies."""
        queue = make_queue(1, 3, recorded=((0, 0, 1.0, 0.0),), speculation=self.POLICY)
        (lease,) = queue.pull("a", 1, 0.0)
        queue.started("a", [lease.id], 0.0)
        assert tasks(queue.pull("b", 1, 99.0)) == [(0, 2)]

    def test_a_loss_too_many_keeps_the_other_copy(self) -> None:
        """While a copy runs, the loss of a node does not end the task."""
        queue = make_queue(
            1,
            2,
            recorded=((0, 0, 1.0, 0.0),),
            speculation=self.POLICY,
            retry=RetryPolicy(max_node_losses=0),
        )
        (lease,) = queue.pull("a", 1, 0.0)
        queue.started("a", [lease.id], 0.0)
        (copy,) = queue.pull("b", 1, 99.0)
        queue.node_lost("a")
        assert queue.take_quarantined() == []
        assert verdict(queue, "b", copy) is Verdict.FIRST

    def test_the_death_of_one_copy_keeps_the_other(self) -> None:
        """While a copy runs, a death does not end the task, also without retries."""
        queue = make_queue(
            1,
            2,
            recorded=((0, 0, 1.0, 0.0),),
            speculation=self.POLICY,
            retry=RetryPolicy(retries=0),
        )
        (lease,) = queue.pull("a", 1, 0.0)
        queue.started("a", [lease.id], 0.0)
        (copy,) = queue.pull("b", 1, 99.0)
        assert isinstance(queue.slot_died("a", lease.id, "signal", 99.0), Retry)
        assert queue.pull("c", 1, 999.0) == []
        assert isinstance(queue.slot_died("b", copy.id, "signal", 99.0), Quarantine)


class TestRecall:
    def test_a_full_node_shares_with_a_dry_one(self) -> None:
        """When no task waits and a node needs work, a full node returns leases."""
        queue = make_queue(12, 1)
        leases = queue.pull("a", 12, 0.0)
        queue.started("a", [lease.id for lease in leases[:2]], 0.0)
        assert queue.recall(0.0) == []
        queue.pull("b", 4, 0.0)
        assert hungry(queue) == [("b", 4)]
        assert queue.recall(0.0) == [("a", 4)]

    def test_a_node_is_asked_once_until_it_answers(self) -> None:
        """A node is asked again only after its answer, which may be empty."""
        queue = make_queue(12, 1)
        queue.pull("a", 12, 0.0)
        queue.pull("b", 4, 0.0)
        assert queue.recall(0.0) == [("a", 4)]
        queue.pull("b", 8, 50.0)
        assert queue.recall(50.0) == []
        queue.returned("a", [], 50.0)
        assert queue.recall(50.0) == [("a", 6)]

    def test_returned_leases_reach_the_dry_node(self) -> None:
        """Returned leases go to the next node that asks."""
        queue = make_queue(4, 1)
        leases = queue.pull("a", 4, 0.0)
        queue.pull("b", 2, 0.0)
        queue.recall(0.0)
        queue.returned("a", [lease.id for lease in leases[2:]], 0.0)
        assert queue.recall(9.0) == []
        assert tasks(queue.pull("b", 2, 0.0)) == [(2, 0), (3, 0)]
        assert hungry(queue) == []

    def test_started_leases_are_not_recalled(self) -> None:
        """Leases that run are not recalled."""
        queue = make_queue(4, 1)
        queue.started("a", [lease.id for lease in queue.pull("a", 4, 0.0)], 0.0)
        queue.pull("b", 4, 0.0)
        assert queue.recall(0.0) == []


class TestGrowth:
    @pytest.mark.parametrize("by_split", [False, True])
    def test_added_candidates_are_leased(self, by_split: bool) -> None:
        """Candidates that are added to a finished round wait, and the round is open again."""
        queue = make_queue(1, 1, by_split=by_split)
        (lease,) = queue.pull("a", 5, 0.0)
        verdict(queue, "a", lease)
        assert queue.finished
        assert queue.extend(2) == 1
        assert counts(queue) == (2, 0, 1)
        assert tasks(queue.pull("a", 5, 0.0)) == [(1, 0), (2, 0)]

    def test_a_round_with_shared_fits_does_not_grow(self) -> None:
        """Groups are known when a round begins."""
        queue = WorkQueue(round=0, n_candidates=2, n_splits=1, groups=[(0, 1)])
        with pytest.raises(ValueError, match="cannot grow"):
            queue.extend(1)

    def test_cancelled_candidates_end(self) -> None:
        """Cancelled tasks are leased to no node, and nodes that hold them are named."""
        queue = make_queue(2, 1)
        (lease,) = queue.pull("a", 1, 0.0)
        assert queue.cancel([0, 1]) == [("a", lease.id)]
        assert queue.finished
        assert queue.pull("b", 2, 0.0) == []
        assert verdict(queue, "a", lease) is Verdict.LATE
