"""Division of groups: time together, parts, and tails."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.queue.splitting import MemberSeconds, SplitPolicy, group_seconds

POLICY = SplitPolicy()
moments = st.sampled_from([0.0, 1 / 64, 0.25, 1.0, 2.0, 7.0, 60.0])
"""Sums of these are exact in any order."""

member_seconds = st.builds(MemberSeconds, fit=moments, score=moments, further=moments)
groups = st.lists(member_seconds, min_size=2, max_size=7)
policies = st.sampled_from([POLICY, SplitPolicy(share=1.0, minimum_seconds=0.0)])


def member(fit: float, score: float = 0.0, further: float = 0.0) -> MemberSeconds:
    return MemberSeconds(fit=fit, score=score, further=further)


def of(members: Sequence[MemberSeconds], places: Sequence[int]) -> float:
    return group_seconds([members[place] for place in places])


def is_worth_it(policy: SplitPolicy, parts: float, whole: float) -> bool:
    return parts < policy.share * whole and parts < whole - policy.minimum_seconds


def test_the_time_of_a_group() -> None:
    """A group takes its longest fit, all scoring, and the further time of the other members."""
    assert group_seconds([member(9.0, 1.0, 5.0), member(3.0, 2.0, 0.5)]) == 12.5


def test_one_longest_fit_has_no_further_time() -> None:
    """Of equally long members, the first has no further time and the others do."""
    assert group_seconds([member(4.0, 0.0, 3.0)] * 3) == 4.0 + 3.0 + 3.0


class TestParts:
    def test_a_group_without_scoring_stays_together(self) -> None:
        """Parts of a group without scoring would not end sooner than its longest fit."""
        assert POLICY.parts([member(1.0), member(4.0), member(2.0)], 3) == [[0, 1, 2]]

    def test_long_scoring_is_divided(self) -> None:
        """Members with 1 s of fit and 10 s of scoring are spread over the free slots."""
        members = [member(1.0, 10.0)] * 4
        assert sorted(map(len, POLICY.parts(members, 2))) == [2, 2]
        assert sorted(map(len, POLICY.parts(members, 4))) == [1, 1, 1, 1]
        assert sorted(map(len, POLICY.parts(members, 9))) == [1, 1, 1, 1]

    def test_parts_are_sorted(self) -> None:
        """The longest part comes first; within a part, members keep their order."""
        members = [member(1.0, 30.0), member(1.0, 9.0), member(1.0, 8.0), member(1.0, 7.0)]
        assert POLICY.parts(members, 2) == [[0], [1, 2, 3]]

    @pytest.mark.parametrize(
        ("score", "parts"),
        [(4.0, 2), (0.4, 1)],
        ids=["a long group", "one of a second"],
    )
    def test_a_short_group_stays_together(self, score: float, parts: int) -> None:
        """A gain of less than half a second is not worth a lease."""
        assert len(POLICY.parts([member(0.1, score)] * 2, 2)) == parts

    def test_a_small_gain_is_not_enough(self) -> None:
        """A group whose parts would take more than 90 % of its time stays together."""
        members = [member(100.0, 1.0), member(100.0, 10.0)]
        assert POLICY.parts(members, 2) == [[0, 1]]
        assert len(SplitPolicy(share=0.999).parts(members, 2)) == 2

    @given(members=groups, slots=st.integers(1, 8), policy=policies)
    def test_parts_make_up_the_group_and_end_it_sooner(
        self, members: list[MemberSeconds], slots: int, policy: SplitPolicy
    ) -> None:
        """Each member is in one part, parts are no more than slots, and the gain is enough."""
        parts = policy.parts(members, slots)
        assert sorted(place for part in parts for place in part) == list(range(len(members)))
        assert all(part == sorted(part) for part in parts)
        assert len(parts) <= slots
        spans = [of(members, part) for part in parts]
        assert spans == sorted(spans, reverse=True)
        if len(parts) > 1:
            assert is_worth_it(policy, spans[0], group_seconds(members))

    @given(members=groups, slots=st.integers(2, 8))
    def test_no_part_could_be_joined_to_another(
        self, members: list[MemberSeconds], slots: int
    ) -> None:
        """The two shortest parts together would take longer than the longest part."""
        parts = SplitPolicy(share=1.0, minimum_seconds=0.0).parts(members, slots)
        if len(parts) > 1:
            both = sorted([*parts[-1], *parts[-2]])
            assert of(members, both) > of(members, parts[0])

    def test_a_slot_without_a_gain_stays_idle(self) -> None:
        """Four equal members take as long on two slots as on three."""
        members = [member(1.0, 10.0)] * 4
        assert sorted(map(len, POLICY.parts(members, 3))) == [2, 2]


class TestTail:
    def test_an_idle_slot_takes_the_best_tail(self) -> None:
        """Of six equal members, an idle slot takes half of the rest."""
        members = [member(0.0, 10.0)] * 6
        assert POLICY.tail(members, 0.0, fitted=True) == 3
        assert POLICY.tail(members, 10.0, fitted=True) == 3
        assert POLICY.tail(members[:2], 0.0, fitted=True) == 1

    def test_an_idle_slot_pays_for_a_fit_of_its_own(self) -> None:
        """After the end of the fit, a tail must outweigh a second fit."""
        members = [member(10.0, 3.0)] * 4
        assert POLICY.tail(members, 0.0, fitted=True) == 0
        assert POLICY.tail([member(10.0, 9.0)] * 4, 0.0, fitted=True) == 3

    def test_an_unfinished_fit_is_waited_for_by_both(self) -> None:
        """Before the end of the fit both slots fit, so only the scoring is divided."""
        members = [member(10.0, 3.0)] * 4
        assert POLICY.tail(members, 0.0, fitted=False) == 2

    def test_the_running_member_stays(self) -> None:
        """The last member of a group has no tail."""
        assert POLICY.tail([member(0.0, 60.0)], 0.0, fitted=True) == 0

    def test_a_tail_of_a_moment_stays(self) -> None:
        """A tail is not moved to gain less than half a second."""
        assert POLICY.tail([member(0.0, 0.2)] * 4, 0.0, fitted=True) == 0

    @given(members=groups, elapsed=moments, fitted=st.booleans(), policy=policies)
    def test_no_other_cut_ends_sooner(
        self, members: list[MemberSeconds], elapsed: float, fitted: bool, policy: SplitPolicy
    ) -> None:
        """The cut is the best one and worth it; without a cut, none is worth it."""
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
