"""The order of tasks whose fits share work: groups stay whole, equal prefixes on one node."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

from skygrid.queue.groups import Groups
from skygrid.queue.order import LongestFirst


class SharedOrder(LongestFirst):
    """`LongestFirst`, but tasks that one fit answers are handed out together.

    Candidates with one prefix on one split are a family. Its first task handed out, the leader,
    fits the prefix. The others are parked until then, and go to the node that has the prefix. A
    node with nothing else to do takes a parked task anyway.

    Parameters
    ----------
    prefixes
        Number of each candidate's prefix, -1 for none; empty: none has any.
    """

    def __init__(
        self,
        n_candidates: int,
        n_splits: int,
        groups: Groups,
        prefixes: Sequence[int],
        *,
        by_split: bool = False,
    ) -> None:
        super().__init__(n_candidates, n_splits, by_split=by_split)
        self._groups = groups
        # Waiting members per group and split; leases that the waiting tasks make.
        sizes = [len(group) for group in groups.members]
        self._members_waiting = array("l", [size for size in sizes for _ in range(n_splits)])
        self._leases = n_splits * (n_candidates - sum(sizes) + len(sizes))
        self._apart: set[int] = set()
        self._prefixes = array("l", prefixes) if max(prefixes, default=-1) >= 0 else None
        self._leaders: dict[int, tuple[int, int]] = {}
        self._homes: dict[int, set[int]] = {}
        self._parked: dict[int, deque[int]] = {}
        self._is_parked: set[int] = set()
        # Families with parked tasks that may go on, by the node that has the prefix; key -1:
        # families without a leader. An entry may have no parked task any more.
        self._open_families: dict[int, dict[int, None]] = {}

    def __len__(self) -> int:
        return self._n_waiting + len(self._is_parked)

    @property
    def leases(self) -> int:
        return self._leases

    def waits(self, task: int) -> bool:
        return super().waits(task) or task in self._is_parked

    def withdraw(self, task: int) -> None:
        if self.waits(task):
            self._is_parked.discard(task)
            super().withdraw(task)
            self._count(task, -1)

    def put_back(self, task: int) -> None:
        if not self.waits(task):
            super().put_back(task)
            self._count(task, 1)

    def fall_apart(self, task: int) -> None:
        place = self._group_place(task)
        if place >= 0 and place not in self._apart:
            self._apart.add(place)
            self._leases += max(0, self._members_waiting[place] - 1)

    def take(self, node: int) -> tuple[int, ...]:
        """Remove and return the next task for this node, with the waiting members of its group."""
        task = self._next_task(node)
        if task is None:
            return ()
        place = self._group_place(task)
        if place < 0 or place in self._apart:
            self._taken(task)
            return (task,)
        unit = [one for one in self._groups.siblings(task) if one == task or self.waits(one)]
        for one in unit:
            self._taken(one)
        return tuple(unit)

    def settled(self, task: int, node: int) -> None:
        """Note that a node has fitted this task and so has the family's prefix."""
        family = self._family(task)
        if family < 0:
            return
        if self._leaders.get(family, (-1, -1))[1] == task:
            del self._leaders[family]
        self._homes.setdefault(family, set()).add(node)
        if self._parked.get(family):
            self._open_families.setdefault(node, {})[family] = None

    def let_go(self, task: int) -> None:
        """Note that a node gave this task up; if it led its family, another task must lead."""
        family = self._family(task)
        if family >= 0 and self._leaders.get(family, (-1, -1))[1] == task:
            del self._leaders[family]
            if self._parked.get(family) and not self._homes.get(family):
                self._open_families.setdefault(-1, {})[family] = None

    def forget(self, node: int) -> None:
        """Forget the prefixes of a lost node."""
        self._open_families.pop(node, None)
        for family, homes in self._homes.items():
            if node in homes:
                homes.discard(node)
                if not homes and self._parked.get(family):
                    self._open_families.setdefault(-1, {})[family] = None

    # ---- groups --------------------------------------------------------------------------------

    def _group_place(self, task: int) -> int:
        candidate, split = divmod(task, self._n_splits)
        group = self._groups.of(candidate)
        return -1 if group < 0 else group * self._n_splits + split

    def _count(self, task: int, change: int) -> None:
        """Count a task that starts (1) or stops (-1) to wait, and the leases that this makes."""
        place = self._group_place(task)
        if place < 0:
            self._leases += change
            return
        before = self._members_waiting[place]
        after = self._members_waiting[place] = before + change
        self._leases += change if place in self._apart else bool(after) - bool(before)

    def _taken(self, task: int) -> None:
        """Withdraw a task that is handed out; `_next` has already removed the first one."""
        if self.waits(task):
            self._is_parked.discard(task)
            super().withdraw(task)
        self._count(task, -1)

    # ---- families ------------------------------------------------------------------------------

    def _family(self, task: int) -> int:
        if self._prefixes is None:
            return -1
        candidate, split = divmod(task, self._n_splits)
        prefix = self._prefixes[candidate]
        return -1 if prefix < 0 else prefix * self._n_splits + split

    def _next_task(self, node: int) -> int | None:
        task = self._unparked(node)
        while task is None and self._n_waiting:
            task = self._next()
            if not self._may_run(task, node):
                self._park(task)
                task = None
        if task is None:
            task = self._steal()
        if task is not None:
            self._lead(task, node)
        return task

    def _may_run(self, task: int, node: int) -> bool:
        """Return whether the prefix is on this node, or the task may lead its family."""
        family = self._family(task)
        if family < 0:
            return True
        homes = self._homes.get(family)
        return node in homes if homes else family not in self._leaders

    def _lead(self, task: int, node: int) -> None:
        family = self._family(task)
        if family >= 0 and family not in self._leaders and not self._homes.get(family):
            self._leaders[family] = (node, task)

    def _park(self, task: int) -> None:
        family = self._family(task)
        self._parked.setdefault(family, deque()).append(task)
        self._is_parked.add(task)
        for home in self._homes.get(family, ()):
            self._open_families.setdefault(home, {})[family] = None

    def _unparked(self, node: int) -> int | None:
        """Return a parked task whose prefix is on this node, or one that is to lead its family."""
        for key in (node, -1):
            families = self._open_families.get(key)
            while families:
                family = next(iter(families))
                task = self._pop_parked(family)
                if task is not None and key == -1:
                    del families[family]  # it has a leader again
                if task is not None:
                    return task
                del families[family]
        return None

    def _pop_parked(self, family: int) -> int | None:
        tasks = self._parked.get(family)
        while tasks:
            task = tasks.popleft()
            if task in self._is_parked:
                self._is_parked.discard(task)
                return task
        self._parked.pop(family, None)
        return None

    def _steal(self) -> int | None:
        """Return any parked task: a prefix fitted twice costs less than an idle slot."""
        for family in list(self._parked):
            task = self._pop_parked(family)
            if task is not None:
                return task
        return None
