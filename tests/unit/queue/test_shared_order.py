"""The order where fits share work: groups whole, families near, nothing lost on the way."""

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
    """Everything that waits, as one node takes it."""
    units = []
    while unit := order.take(node):
        units.append(unit)
    return units


class TestGroups:
    def test_a_group_is_taken_whole_and_in_its_own_order(self) -> None:
        """Members come together, as the group lists them, when the first of them is due."""
        order = order_of(4, groups=[(2, 0)])
        assert order.leases == 3
        assert taken(order) == [(2, 0), (1,), (3,)]
        assert (len(order), order.leases) == (0, 0)

    def test_each_split_is_a_unit_of_its_own(self) -> None:
        """Members on one split are not taken with those on another."""
        order = order_of(2, n_splits=2, groups=[(1, 0)])
        assert order.leases == 2
        assert taken(order) == [(2, 0), (3, 1)]

    def test_members_that_do_not_wait_are_left_out(self) -> None:
        """What has ended already is not handed out with the others."""
        order = order_of(3, groups=[(2, 1, 0)])
        order.withdraw(1)
        assert (len(order), order.leases) == (2, 1)
        assert taken(order) == [(2, 0)]

    def test_members_that_come_back_are_taken_together_again(self) -> None:
        """Two members that were given back make one lease."""
        order = order_of(3, groups=[(2, 1, 0)])
        taken(order)
        order.put_back(0)
        assert (len(order), order.leases) == (1, 1)
        order.put_back(2)
        assert (len(order), order.leases) == (2, 1)
        assert taken(order) == [(2, 0)]

    def test_what_falls_apart_is_taken_one_by_one_on_that_split_alone(self) -> None:
        """After a slot died under one member, all of them are separate there, and only there."""
        order = order_of(3, n_splits=2, groups=[(2, 1, 0)])
        order.fall_apart(4)  # candidate 2 on split 0
        assert order.leases == 3 + 1
        assert taken(order) == [(0,), (2,), (4,), (5, 3, 1)]

    def test_a_group_falls_apart_once(self) -> None:
        """A second death in the same group changes the count of leases no further."""
        order = order_of(3, groups=[(2, 1, 0)])
        order.fall_apart(0)
        order.fall_apart(2)
        assert order.leases == 3

    def test_a_group_that_is_leased_falls_apart_for_what_comes_back(self) -> None:
        """Nothing waits when it happens; what is given back then makes a lease each."""
        order = order_of(3, groups=[(2, 1, 0)])
        assert taken(order) == [(2, 1, 0)]
        order.fall_apart(0)
        assert order.leases == 0
        for task in (2, 0):
            order.put_back(task)
        assert order.leases == 2
        assert taken(order) == [(0,), (2,)]

    def test_a_candidate_without_a_group_cannot_fall_apart(self) -> None:
        """A death under a candidate of its own leaves all groups as they are."""
        order = order_of(3, groups=[(1, 0)])
        order.fall_apart(2)
        assert order.leases == 2
        assert taken(order) == [(1, 0), (2,)]


class TestFamilies:
    def test_the_family_waits_for_its_leader_while_there_is_else_to_do(self) -> None:
        """One task of a prefix goes first; its siblings come after everything else."""
        order = order_of(4, prefixes=[0, 0, 0, -1])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (3,)
        assert len(order) == 2

    def test_no_slot_idles_for_a_leader(self) -> None:
        """When nothing else waits, siblings are handed out all the same."""
        order = order_of(3, prefixes=[0, 0, 0])
        assert [order.take(node) for node in (HERE, THERE, HERE)] == [(0,), (1,), (2,)]

    def test_siblings_go_where_the_prefix_is(self) -> None:
        """Once the leader has ended, its node gets the siblings first, another one other work."""
        order = order_of(5, prefixes=[0, 0, 0, 1, 1])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (3,)  # 1 and 2 wait for 0; 3 leads the other family
        order.settled(0, HERE)
        assert order.take(HERE) == (1,)
        order.settled(3, THERE)
        assert order.take(THERE) == (4,)
        assert order.take(HERE) == (2,)

    def test_a_sibling_that_is_passed_over_goes_where_the_prefix_is(self) -> None:
        """What another node leaves aside for its prefix is next on the node that has it."""
        order = order_of(4, prefixes=[0, 0, -1, -1])
        order.take(HERE)
        order.settled(0, HERE)
        assert order.take(THERE) == (2,)
        assert order.take(HERE) == (1,)

    def test_a_node_without_the_prefix_makes_it_rather_than_idle(self) -> None:
        """Where nothing else is left a sibling goes to a node that has to fit the prefix itself."""
        order = order_of(3, prefixes=[0, 0, 0])
        order.take(HERE)
        order.settled(0, HERE)
        assert order.take(THERE) == (1,)

    def test_every_split_has_a_family_of_its_own(self) -> None:
        """A prefix is fitted on each split anew, so each split has a leader."""
        order = order_of(2, n_splits=2, prefixes=[0, 0])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (1,)

    def test_a_leader_that_is_let_go_is_followed_by_another(self) -> None:
        """When the leader's node gives it up, a sibling leads, before unrelated work even."""
        order = order_of(5, prefixes=[0, 0, 0, -1, -1])
        order.take(HERE)
        assert order.take(THERE) == (3,)
        order.let_go(0)
        assert order.take(THERE) == (1,)
        assert order.take(THERE) == (4,)

    def test_letting_go_of_a_sibling_leaves_the_leader(self) -> None:
        """Only the loss of the leader itself opens its family."""
        order = order_of(5, prefixes=[0, 0, 0, -1, -1])
        order.take(HERE)
        order.take(THERE)
        order.let_go(1)
        assert order.take(THERE) == (4,)

    def test_prefixes_go_with_their_node(self) -> None:
        """After the loss of the only node with a prefix a sibling leads again, alone."""
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
        """Siblings still go to the node that has it, and nowhere else."""
        order = order_of(6, prefixes=[0, 0, 0, -1, -1, -1])
        order.take(HERE)
        assert order.take(THERE) == (3,)
        order.settled(0, HERE)
        order.settled(0, THERE)
        order.forget(HERE)
        assert order.take(2) == (4,)
        assert order.take(THERE) == (1,)

    def test_a_group_within_a_family_is_one_unit(self) -> None:
        """Members of a group that wait for a prefix are handed out together once it is there."""
        order = order_of(4, groups=[(2, 1)], prefixes=[0, 0, 0, -1])
        assert order.take(HERE) == (0,)
        assert order.take(THERE) == (3,)
        assert (len(order), order.leases) == (2, 1)
        order.settled(0, HERE)
        assert order.take(HERE) == (2, 1)


class SharedOrderMachine(RuleBasedStateMachine):
    """Tasks are taken, come back, end and fall apart; a plain set knows which of them wait."""

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
        """All tasks that are taken together with this one."""
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
