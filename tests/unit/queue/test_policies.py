"""Decisions on retries, speculation and recalls."""

from __future__ import annotations

import pytest

from skygrid.queue.policies import (
    GiveUp,
    Hand,
    LeasePolicy,
    RetryPolicy,
    SpeculationPolicy,
    TryAgain,
)


def hand(
    node: str, *, unstarted: int = 0, wanted: int = 0, askable: bool = True, idle: int = 0
) -> Hand:
    return Hand(node=node, unstarted=unstarted, wanted=wanted, askable=askable, idle=idle)


class TestRetryPolicy:
    def test_two_retries_end_alone(self) -> None:
        """Of two retries the first is ordinary and the last runs alone."""
        policy = RetryPolicy(retries=2)
        assert policy.after_death(["signal"]) == TryAgain(alone=False)
        assert policy.after_death(["signal", "exit"]) == TryAgain(alone=True)
        assert isinstance(policy.after_death(["signal", "exit", "memory"]), GiveUp)

    def test_one_retry_is_alone(self) -> None:
        """The only retry is the last attempt, so it is alone."""
        assert RetryPolicy(retries=1).after_death(["memory"]) == TryAgain(alone=True)

    @pytest.mark.parametrize("cause", ["signal", "exit", "timeout", "memory"])
    def test_no_retries(self, cause: str) -> None:
        """Without retries, the first death is final for every cause."""
        assert isinstance(RetryPolicy(retries=0).after_death([cause]), GiveUp)  # type: ignore[list-item]

    def test_a_timeout_is_tried_again_once(self) -> None:
        """The second timeout is final for any number of retries."""
        policy = RetryPolicy(retries=9)
        assert policy.after_death(["timeout"]) == TryAgain(alone=True)
        assert isinstance(policy.after_death(["timeout", "timeout"]), GiveUp)
        assert isinstance(policy.after_death(["timeout", "signal", "timeout"]), GiveUp)

    def test_a_death_after_a_timeout_still_has_retries(self) -> None:
        """A timeout does not use up the retries of other deaths."""
        policy = RetryPolicy(retries=9)
        assert policy.after_death(["timeout", "signal"]) == TryAgain(alone=False)

    def test_the_reason_names_every_cause(self) -> None:
        """The reason gives the number and the causes of the deaths."""
        decision = RetryPolicy(retries=1).after_death(["signal", "memory"])
        assert decision == GiveUp(reason="the fit took its slot down 2 times (signal, memory)")

    def test_losses_isolate_a_fit_and_then_end_it(self) -> None:
        """A fit that was running at several node losses is isolated first and given up later."""
        policy = RetryPolicy(isolate_after=2, max_node_losses=3)
        decisions = [policy.after_loss(losses) for losses in (1, 2, 3, 4)]
        assert decisions[:3] == [TryAgain(alone=False), TryAgain(alone=True), TryAgain(alone=True)]
        assert isinstance(decisions[3], GiveUp)
        assert "4 nodes" in decisions[3].reason


class TestSpeculationPolicy:
    def test_short_fits_are_never_overdue_before_the_minimum(self) -> None:
        """A short fit is not overdue before the minimum."""
        policy = SpeculationPolicy(minimum_seconds=30.0, factor=3.0)
        assert policy.overdue(30.0, 0.1) is None
        assert policy.overdue(31.0, 0.1) == 1.0

    def test_long_fits_are_overdue_after_a_multiple_of_their_estimate(self) -> None:
        """Beyond the minimum, a fit is overdue after a multiple of its estimate."""
        policy = SpeculationPolicy(minimum_seconds=30.0, factor=3.0)
        assert policy.overdue(300.0, 100.0) is None
        assert policy.overdue(310.0, 100.0) == 10.0

    def test_unknown_times_are_not_overdue(self) -> None:
        """Without an estimate or a median, no fit is overdue."""
        assert SpeculationPolicy().overdue(1e9, None) is None


class TestLeasePolicy:
    def test_deadline(self) -> None:
        """A lease ends `timeout_seconds` after the node's last sign of life."""
        assert LeasePolicy(timeout_seconds=15.0).deadline(100.0) == 115.0

    def test_idle_node_gets_half(self) -> None:
        """A donor gives half of the difference between the two nodes."""
        assert LeasePolicy().share([hand("a", unstarted=10), hand("b", wanted=8)]) == [("a", 5)]

    def test_no_more_than_wanted(self) -> None:
        """A donor gives no more leases than are wanted."""
        assert LeasePolicy().share([hand("a", unstarted=10), hand("b", wanted=2)]) == [("a", 2)]

    def test_the_last_unstarted_lease_goes_to_a_dry_node(self) -> None:
        """A single unstarted lease moves to the dry node, unless its holder wants more leases."""
        dry = hand("b", wanted=4)
        assert LeasePolicy().share([hand("a", unstarted=1), dry]) == [("a", 1)]
        assert LeasePolicy().share([hand("a", unstarted=1, wanted=1), dry]) == []

    def test_an_idle_slot_gets_a_lease_in_any_case(self) -> None:
        """A lease behind busy slots moves to an idle slot, even if its holder wants more leases."""
        donor, idle = hand("a", unstarted=1, wanted=1), hand("b", wanted=3, idle=1)
        assert LeasePolicy().share([donor, idle]) == [("a", 1)]
        assert LeasePolicy().share([hand("a", unstarted=1, wanted=1, idle=1), idle]) == []
        taken = hand("b", unstarted=1, wanted=3, idle=1)
        assert LeasePolicy().share([donor, taken]) == []

    def test_a_node_that_wants_leases_gives_none_to_itself(self) -> None:
        """A node that alone wants more leases is not asked to give any."""
        assert LeasePolicy().share([hand("a", unstarted=9, wanted=3), hand("b")]) == []

    def test_the_fullest_node_gives_first(self) -> None:
        """The node with the most unstarted leases is asked first."""
        hands = [hand("a", unstarted=4), hand("b", unstarted=20), hand("c", wanted=3)]
        assert LeasePolicy().share(hands) == [("b", 3)]

    def test_several_donors(self) -> None:
        """A second donor gives the leases that the first one lacks."""
        hands = [hand("a", unstarted=4), hand("b", unstarted=4), hand("c", wanted=3)]
        assert LeasePolicy().share(hands) == [("a", 2), ("b", 1)]

    def test_nodes_that_may_not_be_asked_give_nothing(self) -> None:
        """A node that may not be asked now gives no leases."""
        hands = [hand("a", unstarted=9, askable=False), hand("b", wanted=3)]
        assert LeasePolicy().share(hands) == []

    def test_expected_leases_count(self) -> None:
        """Leases that are already on their way back reduce the number asked for."""
        hands = [hand("a", unstarted=9), hand("b", wanted=3)]
        assert LeasePolicy().share(hands, expected=2) == [("a", 1)]
        assert LeasePolicy().share(hands, expected=3) == []
