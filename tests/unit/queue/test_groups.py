"""Leases for several candidates that one fit answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from skygrid.queue.groups import Groups
from skygrid.queue.policies import QueuePolicies, RetryPolicy, SpeculationPolicy
from skygrid.queue.splitting import MemberSeconds
from skygrid.queue.verdicts import Quarantine, Retry, Verdict
from skygrid.queue.work_queue import WorkQueue
from skygrid.worker.wire.messages.to_agent import MOST_MEMBERS, Lease
from tests.queue_state import task_of

GROUP = (2, 1, 0)
"""Three candidates, the longest fit first."""


def queue_of(
    n_candidates: int = 3,
    n_splits: int = 1,
    *,
    groups: Sequence[Sequence[int]] = (GROUP,),
    recorded: Sequence[tuple[int, int, float, float]] = (),
    prefixes: Sequence[int] = (),
    **policies: Any,
) -> WorkQueue:
    return WorkQueue(
        round=0,
        n_candidates=n_candidates,
        n_splits=n_splits,
        groups=groups,
        recorded=recorded,
        prefixes=prefixes,
        policies=QueuePolicies(**({"speculation": None} | policies)),
    )


def members(lease: Lease, groups: Sequence[Sequence[int]] = (GROUP,)) -> list[int]:
    """Return the candidates of a lease as a slot reads them."""
    if not lease.members:
        return [lease.candidate]
    (group,) = [group for group in groups if lease.candidate in group]
    bits = int.from_bytes(lease.members, "little")
    return [member for place, member in enumerate(group) if bits >> place & 1]


def pulled(queue: WorkQueue, node: str = "a", count: int = 9, now: float = 0.0) -> list[list[int]]:
    return [members(lease) for lease in queue.pull(node, count, now)]


def report(
    queue: WorkQueue,
    lease: Lease,
    candidate: int,
    fit: float = 1.0,
    score: float = 0.0,
    *,
    node: str = "a",
    busy: float = 0.0,
    now: float = 0.0,
) -> Any:
    return queue.complete(
        node, lease.id, fit + score, now, candidate=candidate, score_seconds=score,
        busy_seconds=busy, answered=candidate != members(lease)[0],
    )  # fmt: skip


class TestOneLease:
    def test_a_group_on_one_split_is_one_lease(self) -> None:
        """A group is leased once per split, with all its members."""
        queue = queue_of(4, 2)
        assert queue.pending_leases == 4
        leases = queue.pull("a", 9, 0.0)
        assert [(members(lease), lease.split) for lease in leases] == [
            ([2, 1, 0], 0), ([3], 0), ([2, 1, 0], 1), ([3], 1),
        ]  # fmt: skip

    def test_each_member_is_an_outcome_that_names_its_fit(self) -> None:
        """The first member has its own fit; the others name the member whose fit answered them."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        done = [report(queue, lease, candidate) for candidate in GROUP]
        assert [one.verdict for one in done] == [Verdict.FIRST] * 3
        assert [one.answered_by for one in done] == [-1, 2, 2]
        assert queue.finished

    def test_a_member_with_its_own_fit_answers_those_after_it(self) -> None:
        """After a member with a fit of its own, later members are answered by that fit."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        said = {2: False, 1: False, 0: True}
        done = [
            queue.complete("a", lease.id, 1.0, 0.0, candidate=candidate, answered=answered)
            for candidate, answered in said.items()
        ]
        assert [one.answered_by for one in done] == [-1, -1, 1]

    def test_a_recorded_member_is_left_out(self) -> None:
        """A member that the journal holds is not leased again."""
        queue = queue_of(recorded=[(2, 0, 3.0, 0.1)])
        assert pulled(queue) == [[1, 0]]

    @pytest.mark.parametrize(
        "groups",
        [[(0,)], [(0, 3)], [(0, -1)], [(0, 1), (1, 2)], [tuple(range(MOST_MEMBERS + 1))]],
        ids=["one", "beyond", "below", "twice", "too many"],
    )
    def test_invalid_groups_are_refused(self, groups: list[tuple[int, ...]]) -> None:
        """Groups of one, of unknown or shared members, or of too many are refused."""
        with pytest.raises(ValueError, match="group"):
            queue_of(groups=groups)

    def test_a_group_of_the_largest_size_fits_a_lease(self) -> None:
        """A lease has a bit for each member of the largest group."""
        group = tuple(range(MOST_MEMBERS))
        (lease,) = queue_of(MOST_MEMBERS, groups=[group]).pull("a", 1, 0.0)
        assert members(lease, [group]) == list(group)


class TestSlotDeaths:
    def test_a_death_in_mid_group_retries_the_unreported_members(self) -> None:
        """The running member is charged, the next one is not, the reported one is not run again."""
        queue = queue_of(retry=RetryPolicy(retries=2))
        (lease,) = queue.pull("a", 1, 0.0)
        report(queue, lease, 2)
        death = queue.slot_died("a", lease.id, "signal", 0.0, candidate=1)
        assert death == Retry(candidate=1, split=0, attempt=1, alone=False)
        again = queue.pull("a", 9, 0.0)
        assert [members(one) for one in again] == [[1], [0]]
        assert [task_of(queue, "a", one.id) for one in again] == [(1, 0, 2), (0, 0, 1)]

    def test_after_a_death_its_split_alone_is_fitted_separately(self) -> None:
        """After a death, members run separately on that split; other splits keep the group."""
        queue = queue_of(3, 2)
        first, _ = queue.pull("a", 2, 0.0)
        queue.slot_died("a", first.id, "signal", 0.0, candidate=2)
        queue.node_lost("a")
        assert sorted(pulled(queue, "b")) == [[0], [1], [2], [2, 1, 0]]

    def test_unreached_members_keep_their_attempts(self) -> None:
        """Repeated deaths under the first member quarantine that member only."""
        queue = queue_of(retry=RetryPolicy(retries=1))
        (lease,) = queue.pull("a", 1, 0.0)
        queue.slot_died("a", lease.id, "signal", 0.0, candidate=2)
        worst, *others = queue.pull("a", 9, 0.0)
        assert worst.alone
        assert not any(one.alone for one in others)
        end = queue.slot_died("a", worst.id, "signal", 0.0)
        assert isinstance(end, Quarantine)
        assert end.candidate == 2
        for one in others:
            assert queue.complete("a", one.id, 1.0, 0.0).verdict is Verdict.FIRST
        assert queue.finished

    def test_an_unreached_attempt_does_not_count(self) -> None:
        """A member that was leased twice but tried once is at its second attempt."""
        queue = queue_of()
        queue.pull("a", 1, 0.0)
        queue.node_lost("a")
        (lease,) = queue.pull("b", 1, 0.0)
        queue.slot_died("b", lease.id, "signal", 0.0, candidate=2)
        again = queue.pull("b", 9, 0.0)
        found = sorted(task_of(queue, "b", one.id) or () for one in again)
        assert found == [(0, 0, 2), (1, 0, 2), (2, 0, 3)]

    def test_a_death_after_the_last_report_is_charged_to_no_member(self) -> None:
        """A slot that dies after all members were reported costs no attempt."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        for candidate in GROUP:
            report(queue, lease, candidate)
        assert queue.slot_died("a", lease.id, "signal", 0.0, candidate=0) is None

    def test_a_death_under_a_reported_member_returns_the_others(self) -> None:
        """If the slot dies before it names its next member, the others return without a charge."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        report(queue, lease, 2)
        assert queue.slot_died("a", lease.id, "signal", 0.0, candidate=2) is None
        again = queue.pull("a", 9, 0.0)
        assert [task_of(queue, "a", one.id) for one in again] == [(0, 0, 1), (1, 0, 1)]


class TestLosses:
    def test_a_lost_node_costs_its_unreported_members(self) -> None:
        """Members that a lost node has not reported are leased together as their second attempt."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        report(queue, lease, 2)
        assert queue.node_lost("a") == 1
        (again,) = queue.pull("b", 9, 0.0)
        assert members(again) == [1, 0]
        assert task_of(queue, "b", again.id) == (1, 0, 2)

    def test_reports_of_a_lost_node_count(self) -> None:
        """Members that are reported under an expired lease count and are not fitted again."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        queue.node_lost("a")
        assert report(queue, lease, 2).verdict is Verdict.FIRST
        assert pulled(queue, "b") == [[1, 0]]

    def test_a_returned_lease_stays_whole(self) -> None:
        """A lease that is returned unstarted is leased again unchanged."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        queue.returned("a", [lease.id], 0.0)
        (again,) = queue.pull("b", 1, 0.0)
        assert members(again) == [2, 1, 0]
        assert task_of(queue, "b", again.id) == (2, 0, 1)


class TestIdleSlots:
    SCORED = tuple((candidate, 0, 1.0, 20.0) for candidate in GROUP)
    """One second of fit and twenty of scoring: worth a slot each."""

    def test_a_group_is_divided_among_idle_slots(self) -> None:
        """Three idle slots get one member each; with one slot or no times the group stays whole."""
        queue = queue_of(3, 2, recorded=self.SCORED)
        assert sorted(members(lease) for lease in queue.pull("a", 3, 0.0, slots=3)) == [
            [0], [1], [2],
        ]  # fmt: skip
        for slots, recorded in [(1, self.SCORED), (0, self.SCORED), (3, ())]:
            (lease, *_) = queue_of(3, 2, recorded=recorded).pull("a", 1, 0.0, slots=slots)
            assert members(lease) == [2, 1, 0]

    def test_a_group_stays_whole_while_every_slot_has_work(self) -> None:
        """With as many leases as slots, groups are leased whole."""
        recorded = [*self.SCORED, (3, 0, 9.0, 0.0), (4, 0, 9.0, 0.0)]
        queue = queue_of(5, 2, recorded=recorded)
        leases = queue.pull("a", 1, 0.0, slots=3)
        assert [members(lease) for lease in leases] == [[2, 1, 0]]

    def test_idle_slots_of_other_nodes_count(self) -> None:
        """Members that one node does not take are left for the idle slots of another."""
        queue = queue_of(3, 2, recorded=self.SCORED)
        queue.pull("b", 0, 0.0, slots=2)
        first = queue.pull("a", 1, 0.0, slots=1)
        second = queue.pull("b", 2, 0.0, slots=2)
        assert sorted(members(lease) for lease in [*first, *second]) == [[0], [1], [2]]

    def running(self) -> tuple[WorkQueue, Lease]:
        """Return a queue whose node a has reported the first member; 40 s of scoring are left."""
        queue = queue_of(3, 2, recorded=[(c, 0, 1.0, 20.0) for c in GROUP])
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        report(queue, lease, 2, 1.0, 20.0, now=21.0)
        return queue, lease

    def test_the_tail_of_a_running_group_goes_to_an_idle_slot(self) -> None:
        """An idle slot gets the last member as well; its first report counts."""
        queue, lease = self.running()
        (tail,) = queue.pull("b", 1, 21.0, slots=1)
        assert members(tail) == [0]
        assert report(queue, tail, 0, node="b", now=40.0).verdict is Verdict.FIRST
        done = report(queue, lease, 1, now=41.0)
        assert done.verdict is Verdict.FIRST
        assert done.abandon == (("a", lease.id),)
        assert queue.finished

    def test_a_tail_is_copied_once(self) -> None:
        """A member that runs twice is not started a third time."""
        queue, _ = self.running()
        queue.pull("b", 1, 21.0, slots=1)
        assert queue.pull("c", 1, 21.0, slots=1) == []

    def test_a_group_near_its_end_keeps_its_tail(self) -> None:
        """An idle slot that could not end sooner gets no tail."""
        queue = queue_of(3, 2, recorded=[(c, 0, 30.0, 0.1) for c in GROUP])
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        report(queue, lease, 2, 30.0, 0.1, now=30.1)
        assert queue.pull("b", 1, 30.1, slots=1) == []

    def test_a_finished_fit_keeps_its_scoring(self) -> None:
        """After the end of the fit, a tail that costs another fit is not worth a slot."""
        group = (3, 2, 1, 0)
        recorded = [(c, 0, 10.0, 3.0) for c in group]
        queue = queue_of(4, 2, groups=[group], recorded=recorded)
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        queue.complete("a", lease.id, 13.0, 13.0, candidate=3, score_seconds=3.0)
        assert queue.pull("b", 1, 13.0, slots=1) == []

    @pytest.mark.parametrize("long", [0, 1])
    def test_the_longest_running_group_gives_its_tail_away(self, long: int) -> None:
        """Of two running groups, the one that would end last gives its tail to the idle slot."""
        groups = [(0, 1), (2, 3)]
        scores = [60.0 if c in groups[long] else 30.0 for c in range(4)]
        recorded = [(c, 0, 1.0, scores[c]) for c in range(4)]
        queue = queue_of(4, 2, groups=groups, recorded=recorded)
        leases = {}
        for node in ("a", "b"):
            (lease,) = queue.pull(node, 1, 0.0, slots=1)
            queue.started(node, [lease.id], 0.0)
            leases[lease.candidate] = lease
        assert leases.keys() == {0, 2}
        (tail,) = queue.pull("c", 1, 0.0, slots=1)
        assert members(tail, groups) == [groups[long][1]]

    def test_a_tail_that_killed_its_slot_is_not_copied_again(self) -> None:
        """A member whose copy killed a slot is left to the slot that holds the group."""
        queue, lease = self.running()
        (tail,) = queue.pull("b", 1, 21.0, slots=1)
        death = queue.slot_died("b", tail.id, "signal", 22.0, candidate=0)
        assert isinstance(death, Retry)
        assert queue.pull("b", 1, 22.0, slots=1) == []
        assert queue.pull("c", 1, 22.0, slots=1) == []
        for candidate in (1, 0):
            assert report(queue, lease, candidate, now=60.0).verdict is Verdict.FIRST
        assert queue.finished

    def test_an_overdue_group_is_copied_whole(self) -> None:
        """The time of all members together decides when a group is overdue."""
        policy = SpeculationPolicy(minimum_seconds=1.0, factor=2.0)
        recorded = [(c, 0, 10.0, 0.0) for c in GROUP]
        queue = queue_of(3, 2, recorded=recorded, speculation=policy)
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        queue.started("a", [lease.id], 0.0)
        assert queue.pull("b", 1, 20.0, slots=1) == []
        assert pulled(queue, "b", 1, 20.1) == [[2, 1, 0]]

    def test_an_overdue_rest_is_measured_by_itself(self) -> None:
        """Once members are reported, only the rest decides when a group is overdue."""
        policy = SpeculationPolicy(minimum_seconds=1.0, factor=2.0)
        recorded = [(c, 0, 10.0, 5.0) for c in GROUP]
        queue = queue_of(3, 2, recorded=recorded, speculation=policy)
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        report(queue, lease, 2, 10.0, 5.0, now=15.0)
        # 20 s for the fit and the two members that are left; all three together would be 25 s.
        assert queue.pull("b", 1, 15.0 + 40.0, slots=1) == []
        assert pulled(queue, "b", 1, 15.0 + 40.1) == [[1, 0]]


class TestFamilies:
    """Candidates 0 to 2 share a prefix; 3 and 4 have none."""

    def led(self) -> WorkQueue:
        """Return a queue whose node a has the leader and node b has 3; 1, 2 and 4 wait."""
        queue = queue_of(5, groups=(), prefixes=[0, 0, 0, -1, -1])
        assert pulled(queue, "a", 1) == [[0]]
        assert pulled(queue, "b", 1) == [[3]]
        return queue

    def test_siblings_follow_the_leader_to_its_node(self) -> None:
        """After the leader's report, its node gets the siblings."""
        queue = self.led()
        queue.complete("a", 0, 1.0, 0.0)
        assert pulled(queue, "a", 1) == [[1]]
        assert pulled(queue, "b", 1) == [[4]]

    def test_a_sibling_leads_after_the_loss_of_the_leaders_node(self) -> None:
        """After the loss of the leader's node, a sibling runs before unrelated candidates."""
        queue = self.led()
        queue.node_lost("a")
        (first,) = pulled(queue, "b", 1)
        assert first in ([0], [1])
        assert pulled(queue, "b", 1) == [[4]]

    def test_a_sibling_leads_after_the_loss_of_the_only_node_with_the_prefix(self) -> None:
        """After the loss of the only node with the prefix, a sibling runs before other work."""
        queue = self.led()
        queue.complete("a", 0, 1.0, 0.0)
        queue.node_lost("a")
        assert pulled(queue, "b", 1) == [[1]]
        assert pulled(queue, "b", 1) == [[4]]


class TestTimes:
    def test_groups_are_ordered_by_their_time_together(self) -> None:
        """On later splits, groups are ordered by the time of all their members together."""
        groups = [(0, 1), (2, 3)]
        recorded = [
            (0, 0, 5.0, 0.0), (1, 0, 5.0, 0.0),  # 5 s together
            (2, 0, 4.0, 2.0), (3, 0, 4.0, 2.0),  # 8 s together
        ]  # fmt: skip
        queue = queue_of(5, 2, groups=groups, recorded=[*recorded, (4, 0, 7.0, 0.0)])
        leases = queue.pull("a", 9, 0.0)
        assert [members(lease, groups) for lease in leases] == [[2, 3], [4], [0, 1]]

    def test_a_member_adds_the_busy_time_beyond_scoring(self) -> None:
        """Of 3 s for a shorter member, 1 s is scoring and 2 s are its further time."""
        groups = Groups([(1, 0)], 2, 1)
        groups.learn(7, 1, 10.0, 1.0, 11.0)
        groups.learn(7, 0, 4.0, 1.0, 3.0)
        assert groups.seconds([1, 0]) == [
            MemberSeconds(fit=10.0, score=1.0),
            MemberSeconds(fit=4.0, score=1.0, further=2.0),
        ]
        assert groups.together([1, 0]) == 10.0 + 1.0 + 1.0 + 2.0

    def test_growth_of_a_fit_is_no_further_time(self) -> None:
        """A longer member after a shorter one is not charged for the growth of the fit."""
        groups = Groups([(1, 0)], 2, 1)
        groups.learn(7, 0, 4.0, 0.0, 4.0)
        groups.learn(7, 1, 10.0, 0.0, 6.5)
        assert groups.seconds([1]) == [MemberSeconds(fit=10.0, score=0.0, further=0.5)]

    def test_times_of_different_leases_are_separate(self) -> None:
        """The first member under each lease has its own fit and no further time."""
        groups = Groups([(1, 0)], 2, 2)
        groups.learn(7, 1, 10.0, 0.0, 10.0)
        groups.learn(8, 0, 4.0, 0.0, 4.0)
        assert groups.seconds([2, 0]) == [
            MemberSeconds(fit=10.0, score=0.0),
            MemberSeconds(fit=4.0, score=0.0),
        ]

    def test_further_time_is_learned_from_the_first_lease(self) -> None:
        """The first lease that reports further time determines it; recorded times do not."""
        groups = Groups([(1, 0)], 2, 3)
        groups.learn(-1, 0, 4.0, 1.0, 5.0)
        for lease_id, busy in ((7, 3.0), (8, 9.0)):
            groups.learn(lease_id, 1, 10.0, 1.0, 11.0)
            groups.learn(lease_id, 0, 4.0, 1.0, busy)
        assert groups.seconds([0]) == [MemberSeconds(fit=4.0, score=1.0, further=2.0)]

    def test_a_closed_lease_teaches_no_further_time(self) -> None:
        """A report after the end of a lease does not change the further time."""
        groups = Groups([(1, 0)], 2, 1)
        groups.learn(7, 1, 10.0, 0.0, 10.0)
        groups.closed(7)
        groups.learn(7, 0, 4.0, 0.0, 9.0)
        assert groups.seconds([0]) == [MemberSeconds(fit=4.0, score=0.0)]

    def test_unknown_times_are_left_out_of_a_sum(self) -> None:
        """`seconds` needs the times of all members; `together` adds the known ones."""
        groups = Groups([(1, 0)], 2, 1)
        assert groups.together([0, 1]) is None
        groups.learn(-1, 1, 1.0, 0.0, 1.0)
        assert groups.seconds([0, 1]) is None
        assert groups.together([0, 1]) == 1.0


class TestSplitsOver:
    def test_a_split_is_over_when_its_last_candidate_ends(self) -> None:
        """Each split is named once, when its last fit has ended."""
        queue = queue_of(3, 2, recorded=[(c, 1, 1.0, 0.0) for c in (0, 1)])
        assert queue.take_splits_over() == []
        first, second = queue.pull("a", 9, 0.0)
        assert (first.split, second.split) == (0, 1)
        queue.complete("a", second.id, 1.0, 0.0)
        assert queue.take_splits_over() == [1]
        report(queue, first, 2)
        report(queue, first, 1)
        assert queue.take_splits_over() == []
        report(queue, first, 0)
        report(queue, first, 0)
        assert queue.take_splits_over() == [0]
        assert queue.take_splits_over() == []

    def test_quarantined_candidates_end_their_split(self) -> None:
        """A quarantined candidate counts as ended."""
        queue = queue_of(1, 1, groups=(), retry=RetryPolicy(retries=0))
        (lease,) = queue.pull("a", 1, 0.0)
        queue.slot_died("a", lease.id, "memory", 0.0)
        assert queue.take_splits_over() == [0]

    def test_a_recorded_split_is_over_from_the_start(self) -> None:
        """A split that the journal holds whole is over when the round starts."""
        queue = queue_of(2, 2, groups=[(0, 1)], recorded=[(0, 1, 1.0, 0.0), (1, 1, 1.0, 0.0)])
        assert queue.take_splits_over() == [1]
