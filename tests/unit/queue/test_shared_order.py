"""The order of shared fits: groups stay whole, families stay on one node, no task is lost."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from skygrid.queue.groups import Groups
from skygrid.queue.shared_order import SharedOrder

HERE, THERE = 0, 1


def order_of(
    n_candidates: int,
    n_splits: int = 1,
    groups: Sequence[Sequence[int]] = (),
    prefixes: Sequence[int] = (),
) -> SharedOrder:
    return SharedOrder(n_candidates, n_splits, Groups(groups, n_candidates, n_splits), prefixes)


def taken(order: SharedOrder, node: int = HERE) -> list[tuple[int, ...]]:
    """Return all waiting units in the order in which one node takes them."""
    units = []
    while unit := order.take(node):
        units.append(unit)
    return units


class TestGroups:
    def test_a_group_is_taken_whole_in_its_own_order(self) -> None:
        """A group is taken when its first member is due, in the order of the group."""
        order = order_of(4, groups=[(2, 0)])
        assert order.leases == 3
        assert taken(order) == [(2, 0), (1,), (3,)]
        assert (len(order), order.leases) == (0, 0)

    def test_each_split_is_its_own_unit(self) -> None:
        """Members on different splits are taken separately."""
        order = order_of(2, n_splits=2, groups=[(1, 0)])
        assert order.leases == 2
        assert taken(order) == [(2, 0), (3, 1)]

    def test_members_that_do_not_wait_are_left_out(self) -> None:
        """Members that have ended are not taken with the others."""
        order = order_of(3, groups=[(2, 1, 0)])
        order.withdraw(1)
        assert (len(order), order.leases) == (2, 1)
        assert taken(order) == [(2, 0)]

    def test_members_that_come_back_are_taken_together_again(self) -> None:
        """Two members that were put back make one lease."""
        order = order_of(3, groups=[(2, 1, 0)])
        taken(order)
        order.put_back(0)
        assert (len(order), order.leases) == (1, 1)
        order.put_back(2)
        assert (len(order), order.leases) == (2, 1)
        assert taken(order) == [(2, 0)]

    def test_a_split_that_falls_apart_is_taken_one_by_one(self) -> None:
        """After a death, the members on that split are separate; other splits keep the group."""
        order = order_of(3, n_splits=2, groups=[(2, 1, 0)])
        order.fall_apart(4)  # candidate 2 on split 0
        assert order.leases == 3 + 1
        assert taken(order) == [(0,), (2,), (4,), (5, 3, 1)]

    def test_a_group_falls_apart_once(self) -> None:
        """A second death in the same group does not change the count of leases."""
        order = order_of(3, groups=[(2, 1, 0)])
        order.fall_apart(0)
        order.fall_apart(2)
        assert order.leases == 3

    def test_a_leased_group_falls_apart_for_returned_members(self) -> None:
        """Members of a leased group that fell apart are put back as one lease each."""
        order = order_of(3, groups=[(2, 1, 0)])
        assert taken(order) == [(2, 1, 0)]
        order.fall_apart(0)
        assert order.leases == 0
        for task in (2, 0):
            order.put_back(task)
        assert order.leases == 2
        assert taken(order) == [(0,), (2,)]

    def test_a_candidate_without_a_group_cannot_fall_apart(self) -> None:
        """A death under a candidate without a group leaves all groups whole."""
        order = order_of(3, groups=[(1, 0)])
        order.fall_apart(2)
        assert order.leases == 2
        assert taken(order) == [(1, 0), (2,)]


class TestFamilies:
    def test_a_family_waits_for_its_leader(self) -> None:
        """One task of a prefix goes first; its siblings come after all other work."""
        order = order_of(4, prefixes=[0, 0, 0, -1])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (3,)
        assert len(order) == 2

    def test_no_slot_waits_for_a_leader(self) -> None:
        """When nothing else waits, siblings are taken before their leader has ended."""
        order = order_of(3, prefixes=[0, 0, 0])
        assert [order.take(node) for node in (HERE, THERE, HERE)] == [(0,), (1,), (2,)]

    def test_siblings_go_to_the_node_with_the_prefix(self) -> None:
        """Once the leader has ended, its node takes the siblings and another node other work."""
        order = order_of(5, prefixes=[0, 0, 0, 1, 1])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (3,)  # 1 and 2 wait for 0; 3 leads the other family
        order.settled(0, HERE)
        assert order.take(HERE) == (1,)
        order.settled(3, THERE)
        assert order.take(THERE) == (4,)
        assert order.take(HERE) == (2,)

    def test_a_skipped_sibling_stays_for_the_node_with_the_prefix(self) -> None:
        """A sibling that another node skips is taken next by the node with the prefix."""
        order = order_of(4, prefixes=[0, 0, -1, -1])
        order.take(HERE)
        order.settled(0, HERE)
        assert order.take(THERE) == (2,)
        assert order.take(HERE) == (1,)

    def test_an_idle_node_fits_the_prefix_itself(self) -> None:
        """When nothing else waits, a sibling goes to a node without the prefix."""
        order = order_of(3, prefixes=[0, 0, 0])
        order.take(HERE)
        order.settled(0, HERE)
        assert order.take(THERE) == (1,)

    def test_every_split_has_its_own_family(self) -> None:
        """Each split has its own leader, because its prefix is fitted separately."""
        order = order_of(2, n_splits=2, prefixes=[0, 0])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (1,)

    def test_a_released_leader_is_followed_by_another(self) -> None:
        """When its node releases the leader, a sibling leads before unrelated work."""
        order = order_of(5, prefixes=[0, 0, 0, -1, -1])
        order.take(HERE)
        assert order.take(THERE) == (3,)
        order.let_go(0)
        assert order.take(THERE) == (1,)
        assert order.take(THERE) == (4,)

    def test_release_of_a_sibling_keeps_the_leader(self) -> None:
        """The release of a sibling does not choose a new leader."""
        order = order_of(5, prefixes=[0, 0, 0, -1, -1])
        order.take(HERE)
        order.take(THERE)
        order.let_go(1)
        assert order.take(THERE) == (4,)

    def test_prefixes_are_lost_with_their_node(self) -> None:
        """After the loss of the only node with a prefix, one sibling leads alone."""
        order = order_of(6, prefixes=[0, 0, 0, -1, -1, -1])
        order.take(HERE)
        assert order.take(THERE) == (3,)
        order.settled(0, HERE)
        order.forget(HERE)
        assert order.take(THERE) == (1,)
        assert order.take(THERE) == (4,)
        order.let_go(1)
        assert order.take(THERE) == (2,)

    def test_a_prefix_on_two_nodes_survives_the_loss_of_one(self) -> None:
        """Siblings go to the other node that has the prefix, and to no third one."""
        order = order_of(6, prefixes=[0, 0, 0, -1, -1, -1])
        order.take(HERE)
        assert order.take(THERE) == (3,)
        order.settled(0, HERE)
        order.settled(0, THERE)
        order.forget(HERE)
        assert order.take(2) == (4,)
        assert order.take(THERE) == (1,)

    def test_a_group_within_a_family_is_one_unit(self) -> None:
        """Members of a group that wait for a prefix are taken together."""
        order = order_of(4, groups=[(2, 1)], prefixes=[0, 0, 0, -1])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (3,)
        assert (len(order), order.leases) == (2, 1)
        order.settled(0, HERE)
        assert order.take(HERE) == (2, 1)


class SharedOrderMachine(RuleBasedStateMachine):
    """Random events on the order, checked against a plain set of waiting tasks."""

    @initialize(
        n_candidates=st.integers(1, 6),
        n_splits=st.integers(1, 3),
        shapes=st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 1)), min_size=6, max_size=6),
    )
    def start(self, n_candidates: int, n_splits: int, shapes: list[tuple[int, int]]) -> None:
        numbers = [group for group, _ in shapes[:n_candidates]]
        groups = [[c for c, of in enumerate(numbers) if of == number][::-1] for number in range(2)]
        self.groups = [group for group in groups if len(group) > 1]
        prefixes = [prefix for _, prefix in shapes[:n_candidates]]
        self.n_splits = n_splits
        self.order = order_of(n_candidates, n_splits, self.groups, prefixes)
        self.all = range(n_candidates * n_splits)
        self.waiting = set(self.all)
        self.apart: set[tuple[int, int]] = set()

    def unit_of(self, task: int) -> list[int]:
        """Return all tasks that are taken together with this one."""
        candidate, split = divmod(task, self.n_splits)
        for number, group in enumerate(self.groups):
            if candidate in group and (number, split) not in self.apart:
                tasks = [member * self.n_splits + split for member in group]
                return [one for one in tasks if one in self.waiting]
        return [task]

    @rule(node=st.integers(0, 2))
    def take(self, node: int) -> None:
        unit = self.order.take(node)
        assert bool(unit) == bool(self.waiting), "nothing is withheld, nothing is made up"
        if unit:
            assert unit[0] in self.waiting
            assert list(unit) == self.unit_of(unit[0])
            self.waiting -= set(unit)

    @rule(pick=st.integers(0, 17))
    def put_back(self, pick: int) -> None:
        task = pick % len(self.all)
        self.order.put_back(task)
        self.waiting.add(task)

    @rule(pick=st.integers(0, 17))
    def withdraw(self, pick: int) -> None:
        task = pick % len(self.all)
        self.order.withdraw(task)
        self.waiting.discard(task)

    @rule(pick=st.integers(0, 17))
    def fall_apart(self, pick: int) -> None:
        candidate, split = divmod(pick % len(self.all), self.n_splits)
        self.order.fall_apart(candidate * self.n_splits + split)
        self.apart |= {(n, split) for n, group in enumerate(self.groups) if candidate in group}

    @rule(pick=st.integers(0, 17), node=st.integers(0, 2))
    def settled(self, pick: int, node: int) -> None:
        self.order.settled(pick % len(self.all), node)

    @rule(pick=st.integers(0, 17))
    def let_go(self, pick: int) -> None:
        self.order.let_go(pick % len(self.all))

    @rule(node=st.integers(0, 2))
    def forget(self, node: int) -> None:
        self.order.forget(node)

    @rule(candidate=st.integers(0, 5), seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def learn(self, candidate: int, seconds: float) -> None:
        self.order.learn(candidate % (len(self.all) // self.n_splits), seconds)

    @invariant()
    def counts_are_right(self) -> None:
        assert len(self.order) == len(self.waiting)
        assert {task for task in self.all if self.order.waits(task)} == self.waiting
        assert self.order.leases == len({tuple(self.unit_of(task)) for task in self.waiting})


TestSharedOrderMachine = SharedOrderMachine.TestCase
TestSharedOrderMachine.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestSharedOrderMachine.__doc__ = "Each waiting task is handed out once, in its whole unit."
