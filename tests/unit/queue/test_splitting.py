"""When a group is taken apart: what it takes together, in parts, and without its tail."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.queue.splitting import MemberSeconds, SplitPolicy, group_seconds

POLICY = SplitPolicy()
moments = st.sampled_from([0.0, 1 / 64, 0.25, 1.0, 2.0, 7.0, 60.0])
"""Sums of these are exact, in whichever order they are made."""

member_seconds = st.builds(MemberSeconds, fit=moments, score=moments, further=moments)
groups = st.lists(member_seconds, min_size=2, max_size=7)
policies = st.sampled_from([POLICY, SplitPolicy(share=1.0, minimum_seconds=0.0)])


def member(fit: float, score: float = 0.0, further: float = 0.0) -> MemberSeconds:
    return MemberSeconds(fit=fit, score=score, further=further)


def of(members: Sequence[MemberSeconds], places: Sequence[int]) -> float:
    return group_seconds([members[place] for place in places])


def is_worth_it(policy: SplitPolicy, parts: float, whole: float) -> bool:
    return parts < policy.share * whole and parts < whole - policy.minimum_seconds


def test_a_group_takes_its_longest_fit_and_what_each_adds() -> None:
    """One fit of 9 s, then 1 + 2 s of scoring and half a second for the member that adds some."""
    assert group_seconds([member(9.0, 1.0, 5.0), member(3.0, 2.0, 0.5)]) == 12.5


def test_only_the_longest_fit_is_not_charged_for_following_from_another() -> None:
    """Members of equal length are charged for following from the first of them."""
    assert group_seconds([member(4.0, 0.0, 3.0)] * 3) == 4.0 + 3.0 + 3.0


class TestParts:
    def test_a_group_of_mere_fits_stays_together(self) -> None:
        """Where the longest fit is all the work there is, other slots cannot end it sooner."""
        assert POLICY.parts([member(1.0), member(4.0), member(2.0)], 3) == [[0, 1, 2]]

    def test_scoring_that_outweighs_the_fit_is_shared_out(self) -> None:
        """Four members of 1 s of fit and 10 s of scoring go to as many slots as there are."""
        members = [member(1.0, 10.0)] * 4
        assert sorted(map(len, POLICY.parts(members, 2))) == [2, 2]
        assert sorted(map(len, POLICY.parts(members, 4))) == [1, 1, 1, 1]
        assert sorted(map(len, POLICY.parts(members, 9))) == [1, 1, 1, 1]

    def test_the_longest_part_comes_first_and_each_in_order(self) -> None:
        """Who asks gets the longest part; within a part members keep their order."""
        members = [member(1.0, 30.0), member(1.0, 9.0), member(1.0, 8.0), member(1.0, 7.0)]
        assert POLICY.parts(members, 2) == [[0], [1, 2, 3]]

    @pytest.mark.parametrize(
        ("score", "parts"),
        [(4.0, 2), (0.4, 1)],
        ids=["a long group", "one of a second"],
    )
    def test_what_takes_a_moment_is_left_together(self, score: float, parts: int) -> None:
        """Less than half a second sooner is not worth a lease."""
        assert len(POLICY.parts([member(0.1, score)] * 2, 2)) == parts

    def test_a_tenth_sooner_is_not_enough(self) -> None:
        """Parts that end at nine tenths of the group's time or later cost more than they gain."""
        members = [member(100.0, 1.0), member(100.0, 10.0)]
        assert POLICY.parts(members, 2) == [[0, 1]]
        assert len(SplitPolicy(share=0.999).parts(members, 2)) == 2

    @given(members=groups, slots=st.integers(1, 8), policy=policies)
    def test_parts_make_up_the_group_and_end_it_sooner(
        self, members: list[MemberSeconds], slots: int, policy: SplitPolicy
    ) -> None:
        """Every member is in one part, there are no more parts than slots, and it pays."""
        parts = policy.parts(members, slots)
        assert sorted(place for part in parts for place in part) == list(range(len(members)))
        assert all(part == sorted(part) for part in parts)
        assert len(parts) <= slots
        spans = [of(members, part) for part in parts]
        assert spans == sorted(spans, reverse=True)
        if len(parts) > 1:
            assert is_worth_it(policy, spans[0], group_seconds(members))

    @given(members=groups, slots=st.integers(2, 8))
    def test_no_part_is_there_that_ends_nothing_sooner(
        self, members: list[MemberSeconds], slots: int
    ) -> None:
        """The two shortest parts put together would take longer than the longest does."""
        parts = SplitPolicy(share=1.0, minimum_seconds=0.0).parts(members, slots)
        if len(parts) > 1:
            both = sorted([*parts[-1], *parts[-2]])
            assert of(members, both) > of(members, parts[0])

    def test_a_slot_that_would_end_nothing_sooner_is_left_idle(self) -> None:
        """Four equal members take two slots as long as three."""
        members = [member(1.0, 10.0)] * 4
        assert sorted(map(len, POLICY.parts(members, 3))) == [2, 2]


class TestTail:
    def test_an_idle_slot_takes_what_both_then_end_soonest_with(self) -> None:
        """Of six members of equal work, half of what is left when the first has run a while."""
        members = [member(0.0, 10.0)] * 6
        assert POLICY.tail(members, 0.0, fitted=True) == 3
        assert POLICY.tail(members, 10.0, fitted=True) == 3
        assert POLICY.tail(members[:2], 0.0, fitted=True) == 1

    def test_an_idle_slot_pays_for_a_fit_of_its_own(self) -> None:
        """Where the fit is done, what is left must outweigh a second fit."""
        members = [member(10.0, 3.0)] * 4
        assert POLICY.tail(members, 0.0, fitted=True) == 0
        assert POLICY.tail([member(10.0, 9.0)] * 4, 0.0, fitted=True) == 3

    def test_a_fit_that_is_not_done_is_waited_for_by_both(self) -> None:
        """Before the fit has ended, both slots fit, and the scoring alone is shared."""
        members = [member(10.0, 3.0)] * 4
        assert POLICY.tail(members, 0.0, fitted=False) == 2

    def test_the_member_that_runs_stays_where_it_is(self) -> None:
        """The last member of a group has no tail."""
        assert POLICY.tail([member(0.0, 60.0)], 0.0, fitted=True) == 0

    def test_a_moment_before_the_end_nothing_is_moved(self) -> None:
        """What is left for less than half a second is left alone."""
        assert POLICY.tail([member(0.0, 0.2)] * 4, 0.0, fitted=True) == 0

    @given(members=groups, elapsed=moments, fitted=st.booleans(), policy=policies)
    def test_no_other_cut_ends_sooner(
        self, members: list[MemberSeconds], elapsed: float, fitted: bool, policy: SplitPolicy
    ) -> None:
        """The cut is the best there is, and worth it; where there is none, none is worth it."""
        here = [member(0.0, one.score, one.further) for one in members] if fitted else members
        whole = _seconds_left(here, elapsed)
        ends = [
            max(_seconds_left(here[:cut], elapsed), group_seconds(members[cut:]))
            for cut in range(1, len(members))
        ]
        cut = policy.tail(members, elapsed, fitted=fitted)
        if cut:
            assert ends[cut - 1] == min(ends)
        assert bool(cut) == is_worth_it(policy, min(ends), whole)


def _seconds_left(members: list[MemberSeconds], elapsed: float) -> float:
    return max(0.0, group_seconds(members) - elapsed)
