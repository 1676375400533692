"""Texts about shared fits and the use of slots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.plan.records import Outcome
from skygrid.reports.shared_work import SharedWork, planned_sharing, shared_text, shared_work
from skygrid.reports.slot_use import SlotUse, slot_use
from skygrid.worker.evaluation.contents import Group, Sharing


def outcome(
    candidate: int = 0,
    split: int = 0,
    *,
    round: int = 0,
    answered_by: int = -1,
    prefix_kept: bool = False,
    node: str = "a",
    slot: int = 0,
    ended: float = 0.0,
    busy: float = 0.0,
) -> Outcome:
    return Outcome(
        round=round,
        candidate=candidate,
        split=split,
        status="scored",
        node=node,
        slot=slot,
        answered_by=answered_by,
        prefix_kept=prefix_kept,
        finished_at=ended,
        busy_seconds=busy,
    )


class TestSharedWork:
    def test_no_outcomes(self) -> None:
        """Without outcomes every count is 0 and the text is empty."""
        assert shared_work([]) == SharedWork()
        assert shared_text(SharedWork()) == ""

    def test_a_fit_that_answers_two_others_counts_once(self) -> None:
        """One fit that answers two candidates: three asked, one run, two answered."""
        outcomes = [outcome(2), outcome(0, answered_by=2), outcome(1, answered_by=2)]
        found = shared_work(outcomes)
        assert found == SharedWork(asked=3, run=1, answered=2, answering=1)
        assert shared_text(found) == "3 fits: 1 run, 2 derived from shared fits"

    def test_fits_on_other_splits_and_in_other_rounds_are_separate(self) -> None:
        """A candidate answers by separate fits on two splits and in two rounds."""
        places = [(0, 0), (1, 0), (0, 1)]
        outcomes = [
            one
            for split, round in places
            for one in (
                outcome(1, split, round=round),
                outcome(0, split, round=round, answered_by=1),
            )
        ]
        assert shared_work(outcomes) == SharedWork(asked=6, run=3, answered=3, answering=3)

    def test_candidate_0_can_answer(self) -> None:
        """An answer by candidate 0 counts as an answer."""
        assert shared_work([outcome(0), outcome(1, answered_by=0)]).answered == 1

    def test_first_steps_count_for_run_fits_only(self) -> None:
        """First steps of an answered candidate do not count."""
        outcomes = [
            outcome(0),
            outcome(1, prefix_kept=True),
            outcome(2, answered_by=1, prefix_kept=True),
        ]
        found = shared_work(outcomes)
        assert (found.run, found.begun) == (2, 1)
        text = "3 fits: 2 run, 1 derived from shared fits"
        assert shared_text(found) == f"{text}, 1 with shared first steps"

    def test_first_steps_alone(self) -> None:
        """The text counts shared first steps, and leaves out the number of fits run."""
        found = shared_work([outcome(0), outcome(1, prefix_kept=True)])
        assert shared_text(found) == "2 fits, 1 with shared first steps"

    def test_the_plan_equals_the_outcomes_of_a_complete_run(self) -> None:
        """Planned counts equal those of outcomes in which all sharing took place."""
        sharing = Sharing(
            groups=(Group(members=(2, 0), rule="r"), Group(members=(3, 4, 5), rule="r")),
            prefixes=(0, 0, 0, 1, 1, 1, 0),
        )
        done = [
            outcome(candidate, split, answered_by=by, prefix_kept=kept)
            for split in range(3)
            for candidate, by, kept in [
                (2, -1, False),  # the first of prefix 0 to be fitted
                (0, 2, False),
                (1, -1, True),
                (6, -1, True),
                (3, -1, False),
                (4, 3, False),
                (5, 3, False),
            ]
        ]
        planned = planned_sharing(sharing, 7, 3)
        assert planned == shared_work(done)
        assert planned == SharedWork(asked=21, run=12, answered=9, answering=6, begun=6)

    def test_a_plan_without_sharing(self) -> None:
        """Without sharing every fit is run, and the text is empty."""
        planned = planned_sharing(Sharing(prefixes=(-1, -1)), 2, 5)
        assert planned == SharedWork(asked=10, run=10)
        assert shared_text(planned) == ""


class TestSlotUse:
    def test_no_measurements(self) -> None:
        """Without outcomes, or with fits of no duration, there are no figures."""
        assert slot_use([], {}) is None
        assert slot_use([outcome(ended=5.0)], {"a": 2}) is None

    def test_slots_that_are_always_busy(self) -> None:
        """Two slots that end together after equal work are all busy and have no tail."""
        outcomes = [outcome(ended=10.0, busy=10.0), outcome(slot=1, ended=10.0, busy=10.0)]
        assert slot_use(outcomes, {"a": 2}) == SlotUse(busy_share=1.0, tail_seconds=0.0)

    def test_the_tail_begins_with_the_first_idle_slot(self) -> None:
        """One slot ends at 4 s and one at 10 s: a tail of 6 s, and 14 of 20 slot seconds busy."""
        outcomes = [outcome(ended=4.0, busy=4.0), outcome(slot=1, ended=10.0, busy=10.0)]
        assert slot_use(outcomes, {"a": 2}) == SlotUse(busy_share=0.7, tail_seconds=6.0)

    def test_an_unused_slot_is_idle_from_the_beginning(self) -> None:
        """A node with two slots and one fit is half used, and its tail is the whole round."""
        found = slot_use([outcome(ended=10.0, busy=10.0)], {"a": 2})
        assert found == SlotUse(busy_share=0.5, tail_seconds=10.0)

    def test_equal_slot_numbers_on_two_nodes_are_two_slots(self) -> None:
        """Slot 0 of one node is not slot 0 of another."""
        outcomes = [
            outcome(node="a", ended=4.0, busy=4.0),
            outcome(node="b", ended=10.0, busy=10.0),
        ]
        assert slot_use(outcomes, {}) == SlotUse(busy_share=0.7, tail_seconds=6.0)

    def test_the_tail_starts_at_a_slots_last_fit(self) -> None:
        """The tail is measured from the last end of a slot, in any order of outcomes."""
        outcomes = [outcome(1, ended=10.0, busy=6.0), outcome(0, ended=4.0, busy=4.0)]
        assert slot_use(outcomes, {"a": 1}) == SlotUse(busy_share=1.0, tail_seconds=0.0)

    def test_time_between_rounds_does_not_count(self) -> None:
        """The time between two rounds is not counted, and tails are added."""
        outcomes = [
            outcome(ended=4.0, busy=4.0),
            outcome(slot=1, ended=2.0, busy=2.0),
            outcome(round=1, ended=104.0, busy=4.0),
            outcome(round=1, slot=1, ended=101.0, busy=1.0),
        ]
        assert slot_use(outcomes, {"a": 2}) == SlotUse(busy_share=11 / 16, tail_seconds=5.0)

    @given(
        fits=st.lists(
            st.tuples(
                st.sampled_from("ab"), st.integers(0, 2), st.floats(0, 100), st.integers(0, 1)
            ),
            min_size=1,
            max_size=12,
        ),
        known=st.dictionaries(st.sampled_from("ab"), st.integers(0, 4)),
    )
    def test_shares_and_tails_are_within_bounds(
        self, fits: list[tuple[str, int, float, int]], known: dict[str, int]
    ) -> None:
        """The busy share is at most 1, and tails are no longer than their rounds."""
        ends: dict[tuple[str, int, int], float] = {}
        outcomes = []
        for node, slot, busy, round in fits:
            place = (node, slot, round)
            ends[place] = ends.get(place, 0.0) + busy
            outcomes.append(
                outcome(round=round, node=node, slot=slot, ended=ends[place], busy=busy)
            )
        found = slot_use(outcomes, known)
        if found is None:
            assert sum(ends.values()) == 0.0
            return
        lengths = [
            max(end for (_, _, one), end in ends.items() if one == round)
            for round in {round for *_, round in fits}
        ]
        assert 0.0 <= found.busy_share <= 1.0
        assert found.busy_share > 0.0
        assert -1e-9 <= found.tail_seconds <= sum(lengths) + 1e-9


@pytest.mark.parametrize(("answered", "begun"), [(0, 0), (0, 1), (2, 0), (2, 1)])
def test_the_text_names_the_shared_work(answered: int, begun: int) -> None:
    """The text mentions answers and first steps only if their counts are not 0."""
    work = SharedWork(asked=6, run=6 - answered, answered=answered, answering=1, begun=begun)
    text = shared_text(work)
    assert ("derived" in text) == bool(answered)
    assert ("first steps" in text) == bool(begun)
