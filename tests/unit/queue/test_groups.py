"""Leases for several candidates that one fit answers: what the queue makes of their reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from skygrid.queue.groups import Groups
from skygrid.queue.policies import QueuePolicies, RetryPolicy, SpeculationPolicy
from skygrid.queue.splitting import MemberSeconds
from skygrid.queue.verdicts import Quarantine, Retry, Verdict
from skygrid.queue.work_queue import WorkQueue
from skygrid.worker.wire.messages import MOST_MEMBERS, Lease

GROUP = (2, 1, 0)
"""Three candidates, the one that takes longest first."""


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
    """The candidates of a lease as a slot reads it."""
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
        """Members come with the first lease, on each split once."""
        queue = queue_of(4, 2)
        assert queue.pending_leases == 4
        leases = queue.pull("a", 9, 0.0)
        assert [(members(lease), lease.split) for lease in leases] == [
            ([2, 1, 0], 0), ([3], 0), ([2, 1, 0], 1), ([3], 1),
        ]  # fmt: skip

    def test_each_member_is_an_outcome_and_says_whose_fit_it_was(self) -> None:
        """The first member had a fit of its own, the others were answered by it."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        done = [report(queue, lease, candidate) for candidate in GROUP]
        assert [one.verdict for one in done] == [Verdict.FIRST] * 3
        assert [one.answered_by for one in done] == [-1, 2, 2]
        assert queue.finished

    def test_a_member_that_needed_a_fit_of_its_own_answers_those_after_it(self) -> None:
        """What a node fits in the middle of a group is what later members are answered by."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        said = {2: False, 1: False, 0: True}
        done = [
            queue.complete("a", lease.id, 1.0, 0.0, candidate=candidate, answered=answered)
            for candidate, answered in said.items()
        ]
        assert [one.answered_by for one in done] == [-1, -1, 1]

    def test_a_recorded_member_is_left_out(self) -> None:
        """What the journal holds of a group is not asked for again."""
        queue = queue_of(recorded=[(2, 0, 3.0, 0.1)])
        assert pulled(queue) == [[1, 0]]

    @pytest.mark.parametrize(
        "groups",
        [[(0,)], [(0, 3)], [(0, -1)], [(0, 1), (1, 2)], [tuple(range(MOST_MEMBERS + 1))]],
        ids=["one", "beyond", "below", "twice", "too many"],
    )
    def test_groups_that_cannot_be_are_refused(self, groups: list[tuple[int, ...]]) -> None:
        """Groups of one, of strangers, of shared members or of too many are an error."""
        with pytest.raises(ValueError, match="group"):
            queue_of(groups=groups)

    def test_a_whole_group_of_the_largest_size_fits_a_lease(self) -> None:
        """Its first and its last member have a bit, and each between them."""
        group = tuple(range(MOST_MEMBERS))
        (lease,) = queue_of(MOST_MEMBERS, groups=[group]).pull("a", 1, 0.0)
        assert members(lease, [group]) == list(group)


class TestSlotDeaths:
    def test_a_death_in_mid_group_costs_the_members_not_reported(self) -> None:
        """The one that ran is charged, the next is not, and the reported one is not run again."""
        queue = queue_of(retry=RetryPolicy(retries=2))
        (lease,) = queue.pull("a", 1, 0.0)
        report(queue, lease, 2)
        death = queue.slot_died("a", lease.id, "signal", 0.0, candidate=1)
        assert death == Retry(candidate=1, split=0, attempt=1, alone=False)
        again = queue.pull("a", 9, 0.0)
        assert [members(one) for one in again] == [[1], [0]]
        assert [queue.task_of("a", one.id) for one in again] == [(1, 0, 2), (0, 0, 1)]

    def test_after_a_death_its_split_is_fitted_separately_and_no_other(self) -> None:
        """Whose fault it was is beyond doubt on that split; elsewhere the group stays whole."""
        queue = queue_of(3, 2)
        first, _ = queue.pull("a", 2, 0.0)
        queue.slot_died("a", first.id, "signal", 0.0, candidate=2)
        queue.node_lost("a", 0.0)
        assert sorted(pulled(queue, "b")) == [[0], [1], [2], [2, 1, 0]]

    def test_members_that_were_not_reached_have_all_their_attempts(self) -> None:
        """A slot that dies under the first member again and again takes only that one down."""
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

    def test_an_attempt_that_was_not_reached_is_none(self) -> None:
        """Members that wait for a third time, but were tried once, are at their second attempt."""
        queue = queue_of()
        queue.pull("a", 1, 0.0)
        queue.node_lost("a", 0.0)
        (lease,) = queue.pull("b", 1, 0.0)
        queue.slot_died("b", lease.id, "signal", 0.0, candidate=2)
        again = queue.pull("b", 9, 0.0)
        found = sorted(queue.task_of("b", one.id) or () for one in again)
        assert found == [(0, 0, 2), (1, 0, 2), (2, 0, 3)]

    def test_a_death_after_the_last_report_is_nobodys(self) -> None:
        """A slot that dies when all members were reported has nothing left to answer for."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        for candidate in GROUP:
            report(queue, lease, candidate)
        assert queue.slot_died("a", lease.id, "signal", 0.0, candidate=0) is None

    def test_a_death_under_a_reported_member_opens_the_others(self) -> None:
        """A slot that dies before it says what it is at next gives the others back, uncharged."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        report(queue, lease, 2)
        assert queue.slot_died("a", lease.id, "signal", 0.0, candidate=2) is None
        again = queue.pull("a", 9, 0.0)
        assert [queue.task_of("a", one.id) for one in again] == [(0, 0, 1), (1, 0, 1)]


class TestLosses:
    def test_a_lost_node_costs_what_it_had_not_reported(self) -> None:
        """The others are leased together again, elsewhere, as their second attempt."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        report(queue, lease, 2)
        assert queue.node_lost("a", 0.0) == 1
        (again,) = queue.pull("b", 9, 0.0)
        assert members(again) == [1, 0]
        assert queue.task_of("b", again.id) == (1, 0, 2)

    def test_a_lost_node_that_is_heard_again_saves_its_members(self) -> None:
        """Members that arrive under an expired lease count, and need not be fitted again."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        queue.node_lost("a", 0.0)
        assert report(queue, lease, 2).verdict is Verdict.FIRST
        assert pulled(queue, "b") == [[1, 0]]

    def test_what_is_given_back_waits_whole(self) -> None:
        """An unstarted lease that is recalled is handed out as it was."""
        queue = queue_of()
        (lease,) = queue.pull("a", 1, 0.0)
        queue.returned("a", [lease.id], 0.0)
        (again,) = queue.pull("b", 1, 0.0)
        assert members(again) == [2, 1, 0]
        assert queue.task_of("b", again.id) == (2, 0, 1)


class TestIdleSlots:
    SCORED = tuple((candidate, 0, 1.0, 20.0) for candidate in GROUP)
    """A second of fit, twenty of scoring: worth a slot each."""

    def test_a_group_is_shared_out_among_slots_that_would_idle(self) -> None:
        """Three idle slots get a member each; without times or with one slot nobody does."""
        queue = queue_of(3, 2, recorded=self.SCORED)
        assert sorted(members(lease) for lease in queue.pull("a", 3, 0.0, slots=3)) == [
            [0], [1], [2],
        ]  # fmt: skip
        for slots, recorded in [(1, self.SCORED), (0, self.SCORED), (3, ())]:
            (lease, *_) = queue_of(3, 2, recorded=recorded).pull("a", 1, 0.0, slots=slots)
            assert members(lease) == [2, 1, 0]

    def test_no_group_is_taken_apart_while_there_is_work_for_every_slot(self) -> None:
        """With as many leases as slots, whole groups are handed out."""
        recorded = [*self.SCORED, (3, 0, 9.0, 0.0), (4, 0, 9.0, 0.0)]
        queue = queue_of(5, 2, recorded=recorded)
        leases = queue.pull("a", 1, 0.0, slots=3)
        assert [members(lease) for lease in leases] == [[2, 1, 0]]

    def test_other_nodes_idle_slots_count(self) -> None:
        """What one node does not take is left for the idle slots of another."""
        queue = queue_of(3, 2, recorded=self.SCORED)
        queue.pull("b", 0, 0.0, slots=2)
        first = queue.pull("a", 1, 0.0, slots=1)
        second = queue.pull("b", 2, 0.0, slots=2)
        assert sorted(members(lease) for lease in [*first, *second]) == [[0], [1], [2]]

    def running(self) -> tuple[WorkQueue, Lease]:
        """A group of which node a has reported the first member; 40 s of scoring are left."""
        queue = queue_of(3, 2, recorded=[(c, 0, 1.0, 20.0) for c in GROUP])
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        report(queue, lease, 2, 1.0, 20.0, now=21.0)
        return queue, lease

    def test_the_tail_of_a_running_group_goes_to_an_idle_slot(self) -> None:
        """The last member is done elsewhere meanwhile; whoever is first counts."""
        queue, lease = self.running()
        (tail,) = queue.pull("b", 1, 21.0, slots=1)
        assert members(tail) == [0]
        assert report(queue, tail, 0, node="b", now=40.0).verdict is Verdict.FIRST
        done = report(queue, lease, 1, now=41.0)
        assert done.verdict is Verdict.FIRST
        assert done.abandon == (("a", lease.id),)
        assert queue.finished

    def test_a_tail_is_given_away_once(self) -> None:
        """What is done twice already is not done a third time."""
        queue, _ = self.running()
        queue.pull("b", 1, 21.0, slots=1)
        assert queue.pull("c", 1, 21.0, slots=1) == []

    def test_a_group_that_is_nearly_done_keeps_its_tail(self) -> None:
        """Where an idle slot could not end sooner it gets nothing."""
        queue = queue_of(3, 2, recorded=[(c, 0, 30.0, 0.1) for c in GROUP])
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        report(queue, lease, 2, 30.0, 0.1, now=30.1)
        assert queue.pull("b", 1, 30.1, slots=1) == []

    def test_a_fit_that_is_done_outweighs_what_it_is_left_to_score(self) -> None:
        """Once the fit has ended, an idle slot would need longer for a fit of its own."""
        group = (3, 2, 1, 0)
        recorded = [(c, 0, 10.0, 3.0) for c in group]
        queue = queue_of(4, 2, groups=[group], recorded=recorded)
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        queue.complete("a", lease.id, 13.0, 13.0, candidate=3, score_seconds=3.0)
        assert queue.pull("b", 1, 13.0, slots=1) == []

    @pytest.mark.parametrize("long", [0, 1])
    def test_the_group_with_most_left_gives_its_tail_away(self, long: int) -> None:
        """Of two running groups the one that would end last is helped."""
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

    def test_a_member_that_took_a_slot_down_is_not_given_away_again(self) -> None:
        """When the idle slot dies of it, the slot that has it all comes to it in its turn."""
        queue, lease = self.running()
        (tail,) = queue.pull("b", 1, 21.0, slots=1)
        death = queue.slot_died("b", tail.id, "signal", 22.0, candidate=0)
        assert isinstance(death, Retry)
        assert queue.pull("b", 1, 22.0, slots=1) == []
        assert queue.pull("c", 1, 22.0, slots=1) == []
        for candidate in (1, 0):
            assert report(queue, lease, candidate, now=60.0).verdict is Verdict.FIRST
        assert queue.finished

    def test_a_group_that_drags_on_is_started_elsewhere_whole(self) -> None:
        """What is overdue is what all of its members should take together."""
        policy = SpeculationPolicy(minimum_seconds=1.0, factor=2.0)
        recorded = [(c, 0, 10.0, 0.0) for c in GROUP]
        queue = queue_of(3, 2, recorded=recorded, speculation=policy)
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        queue.started("a", [lease.id], 0.0)
        assert queue.pull("b", 1, 20.0, slots=1) == []
        assert pulled(queue, "b", 1, 20.1) == [[2, 1, 0]]

    def test_what_is_left_of_a_group_is_overdue_by_what_is_left(self) -> None:
        """Members that were reported are not waited for once more."""
        policy = SpeculationPolicy(minimum_seconds=1.0, factor=2.0)
        recorded = [(c, 0, 10.0, 5.0) for c in GROUP]
        queue = queue_of(3, 2, recorded=recorded, speculation=policy)
        (lease,) = queue.pull("a", 1, 0.0, slots=1)
        report(queue, lease, 2, 10.0, 5.0, now=15.0)
        # 20 s for the fit and the two that are left; all three together would be 25 s.
        assert queue.pull("b", 1, 15.0 + 40.0, slots=1) == []
        assert pulled(queue, "b", 1, 15.0 + 40.1) == [[1, 0]]


class TestFamilies:
    """Candidates 0 to 2 begin alike; 3 and 4 have nothing in common."""

    def led(self) -> WorkQueue:
        """Node a has the leader, node b has 3; 1, 2 and 4 wait."""
        queue = queue_of(5, groups=(), prefixes=[0, 0, 0, -1, -1])
        assert pulled(queue, "a", 1) == [[0]]
        assert pulled(queue, "b", 1) == [[3]]
        return queue

    def test_a_report_of_the_leader_brings_its_siblings_to_its_node(self) -> None:
        """The node that has fitted the first steps goes on with them."""
        queue = self.led()
        queue.complete("a", 0, 1.0, 0.0)
        assert pulled(queue, "a", 1) == [[1]]
        assert pulled(queue, "b", 1) == [[4]]

    def test_when_the_leaders_node_is_lost_another_leads(self) -> None:
        """One of the family goes first elsewhere, before what has nothing in common with it."""
        queue = self.led()
        queue.node_lost("a", 0.0)
        (first,) = pulled(queue, "b", 1)
        assert first in ([0], [1])
        assert pulled(queue, "b", 1) == [[4]]

    def test_when_the_only_node_with_the_first_steps_is_lost_another_leads(self) -> None:
        """What was fitted there is gone with it."""
        queue = self.led()
        queue.complete("a", 0, 1.0, 0.0)
        queue.node_lost("a", 0.0)
        assert pulled(queue, "b", 1) == [[1]]
        assert pulled(queue, "b", 1) == [[4]]


class TestTimes:
    def test_a_group_is_as_long_as_what_it_takes_together(self) -> None:
        """The longest group goes first on later splits, whatever its members would take alone."""
        groups = [(0, 1), (2, 3)]
        recorded = [
            (0, 0, 5.0, 0.0), (1, 0, 5.0, 0.0),  # 5 s together
            (2, 0, 4.0, 2.0), (3, 0, 4.0, 2.0),  # 8 s together
        ]  # fmt: skip
        queue = queue_of(5, 2, groups=groups, recorded=[*recorded, (4, 0, 7.0, 0.0)])
        leases = queue.pull("a", 9, 0.0)
        assert [members(lease, groups) for lease in leases] == [[2, 3], [4], [0, 1]]

    def test_what_a_member_adds_is_what_its_slot_was_busy_beyond_the_fit(self) -> None:
        """Of 3 s that a slot spent on a shorter member, 1 s of scoring, 2 s are its own."""
        groups = Groups([(1, 0)], 2, 1)
        groups.learn(7, 1, 10.0, 1.0, 11.0)
        groups.learn(7, 0, 4.0, 1.0, 3.0)
        assert groups.seconds([1, 0]) == [
            MemberSeconds(fit=10.0, score=1.0),
            MemberSeconds(fit=4.0, score=1.0, further=2.0),
        ]
        assert groups.together([1, 0]) == 10.0 + 1.0 + 1.0 + 2.0

    def test_a_longer_fit_after_a_shorter_one_is_growth_and_no_extra(self) -> None:
        """A member whose fit had to go on beyond the one before is not charged for that."""
        groups = Groups([(1, 0)], 2, 1)
        groups.learn(7, 0, 4.0, 0.0, 4.0)
        groups.learn(7, 1, 10.0, 0.0, 6.5)
        assert groups.seconds([1]) == [MemberSeconds(fit=10.0, score=0.0, further=0.5)]

    def test_times_of_other_leases_are_not_mixed(self) -> None:
        """The first member under each lease has a fit of its own."""
        groups = Groups([(1, 0)], 2, 2)
        groups.learn(7, 1, 10.0, 0.0, 10.0)
        groups.learn(8, 0, 4.0, 0.0, 4.0)
        assert groups.seconds([2, 0]) == [
            MemberSeconds(fit=10.0, score=0.0),
            MemberSeconds(fit=4.0, score=0.0),
        ]

    def test_what_a_member_adds_is_learned_where_it_is_seen_first(self) -> None:
        """A journal does not say it, and the first lease that does is believed."""
        groups = Groups([(1, 0)], 2, 3)
        groups.learn(-1, 0, 4.0, 1.0, 5.0)
        for lease_id, busy in ((7, 3.0), (8, 9.0)):
            groups.learn(lease_id, 1, 10.0, 1.0, 11.0)
            groups.learn(lease_id, 0, 4.0, 1.0, busy)
        assert groups.seconds([0]) == [MemberSeconds(fit=4.0, score=1.0, further=2.0)]

    def test_after_its_end_a_lease_says_nothing_of_what_a_member_adds(self) -> None:
        """A late report is of a fit that nobody knows to have gone on."""
        groups = Groups([(1, 0)], 2, 1)
        groups.learn(7, 1, 10.0, 0.0, 10.0)
        groups.closed(7)
        groups.learn(7, 0, 4.0, 0.0, 9.0)
        assert groups.seconds([0]) == [MemberSeconds(fit=4.0, score=0.0)]

    def test_unknown_times_make_no_guess(self) -> None:
        """Where one member was never timed, what all take is not known."""
        groups = Groups([(1, 0)], 2, 1)
        assert groups.together([0, 1]) is None
        groups.learn(-1, 1, 1.0, 0.0, 1.0)
        assert groups.seconds([0, 1]) is None
        assert groups.together([0, 1]) == 1.0


class TestSplitsOver:
    def test_a_split_is_over_when_its_last_candidate_has_ended(self) -> None:
        """Every split is named once, when nothing more will be fitted on it."""
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

    def test_what_is_given_up_has_ended_too(self) -> None:
        """A candidate that is quarantined keeps no split's memory."""
        queue = queue_of(1, 1, groups=(), retry=RetryPolicy(retries=0))
        (lease,) = queue.pull("a", 1, 0.0)
        queue.slot_died("a", lease.id, "memory", 0.0)
        assert queue.take_splits_over() == [0]

    def test_a_split_that_the_journal_holds_is_over_from_the_start(self) -> None:
        """A resumed round keeps nothing for splits that are complete."""
        queue = queue_of(2, 2, groups=[(0, 1)], recorded=[(0, 1, 1.0, 0.0), (1, 1, 1.0, 0.0)])
        assert queue.take_splits_over() == [1]
