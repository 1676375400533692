"""The state of a round, and its transitions.

A task waits (in the order, or among the dangerous tasks), is held by live nodes under one or two
leases, or has ended. All changes between these are made here.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from skygrid.queue.groups import Groups
from skygrid.queue.leases import CLOSED, RUNNING, LeaseBook
from skygrid.queue.nodes import Node, NodeBook, Times
from skygrid.queue.order import LongestFirst
from skygrid.queue.policies import QueuePolicies
from skygrid.queue.retries import TaskHistories
from skygrid.queue.shared_order import SharedOrder
from skygrid.worker.wire.messages.to_agent import Lease


class RoundState:
    """Tasks, nodes and leases of one round, changed only by its `WorkQueue`.

    A task's number is ``candidate * n_splits + split``. Parameters are those of `WorkQueue`.
    """

    def __init__(
        self,
        *,
        n_candidates: int,
        n_splits: int,
        groups: Sequence[Sequence[int]],
        prefixes: Sequence[int],
        by_split: bool,
        policies: QueuePolicies,
        first_lease_id: int,
    ) -> None:
        self.policies = policies
        self.n_splits = n_splits
        self.ended = bytearray(n_candidates * n_splits)
        """By task: 1 if it has an outcome."""

        self.n_ended = 0
        self.groups = Groups(groups, n_candidates, n_splits) if groups or prefixes else None
        """None when each candidate has a fit of its own and no two share a prefix."""

        self.order: LongestFirst = (
            SharedOrder(n_candidates, n_splits, self.groups, prefixes, by_split=by_split)
            if self.groups
            else LongestFirst(n_candidates, n_splits, by_split=by_split)
        )
        self.book = LeaseBook(first_lease_id)
        self.nodes = NodeBook()
        self.times = Times()
        self.histories = TaskHistories()
        self.leased: dict[int, int] = {}
        """Task -> its lease."""

        self.copies: dict[int, int] = {}
        """Task -> lease of its second copy."""

        self.splits_over: list[int] = []
        """Splits on which every candidate has ended, until `WorkQueue.take_splits_over`."""

        self._left = array("l", [n_candidates]) * n_splits
        """By split: number of candidates that have not ended."""

    def extend(self, count: int) -> None:
        """Add `count` candidates, whose tasks wait."""
        if self.groups is not None:
            raise ValueError("a round whose candidates share fits cannot grow")
        self.ended += bytes(count * self.n_splits)
        self.order.extend(count)
        for split in range(self.n_splits):
            self._left[split] += count

    # ---- a task is leased ----------------------------------------------------------------------

    def lease(self, tasks: Sequence[int], node: Node, *, copy: bool = False) -> Lease:
        """Lease tasks to a node; several only if one fit answers them. `copy`: a second lease."""
        book = self.book
        lease_id = book.issue(tasks, node.number)
        node.held.add(lease_id)
        holders = self.copies if copy else self.leased
        alone = False
        for task in tasks:
            holders[task] = lease_id
            if self.histories and (history := self.histories.get(task)) is not None:
                history.attempts += 1
                if history.attempts > 1:
                    book.set_attempt(lease_id, task, history.attempts)
                alone = alone or history.alone or history.suspect
        candidate, split = divmod(tasks[0], self.n_splits)
        members = self.groups.bits(tasks) if self.groups and len(tasks) > 1 else b""
        return Lease(lease_id, candidate, split, alone, members)

    def goes_on(self, lease_id: int, now: float) -> None:
        """Note that a node has reported a member of this lease and runs the next one."""
        node = self.nodes.holder(self.book.node(lease_id))
        if node is not None and lease_id in node.held:
            node.running[lease_id] = now
            self.book.set_state(lease_id, RUNNING)

    # ---- it comes back -------------------------------------------------------------------------

    def release(self, lease_id: int, node: Node, state: int) -> list[int]:
        """Take a held lease from its node and tasks; return the tasks that have not ended."""
        node.drop(lease_id)
        self.book.set_state(lease_id, state)
        opened = [task for task in self.book.tasks(lease_id) if not self.ended[task]]
        for task in opened:
            if self.copies.get(task) == lease_id:
                del self.copies[task]
            elif task in self.copies:
                self.leased[task] = self.copies.pop(task)
            else:
                del self.leased[task]
            self.order.let_go(task)
        if self.groups is not None:
            self.groups.closed(lease_id)
        return opened

    def not_tried(self, lease_id: int, task: int) -> None:
        """Return a task to the queue that its lease did not reach; this counts as no attempt."""
        history = self.histories.get(task)
        if history is not None and history.attempts == self.book.attempt(lease_id, task):
            history.attempts -= 1
        self.wait_again(task)

    def wait_again(self, task: int) -> None:
        """Return the task to the queue, unless a node holds it."""
        if task in self.leased:
            return
        if self.histories.is_dangerous(task):
            self.histories.wait(task)
        else:
            self.order.put_back(task)

    # ---- it ends -------------------------------------------------------------------------------

    def end(self, task: int) -> list[int]:
        """Mark a task as ended; close and return the leases that have no task left."""
        self.ended[task] = 1
        self.n_ended += 1
        split = task % self.n_splits
        self._left[split] -= 1
        if not self._left[split]:
            self.splits_over.append(split)
        leases = []
        for lease_id in (self.leased.pop(task, None), self.copies.pop(task, None)):
            if lease_id is not None and not self._is_open(lease_id):
                self._close(lease_id)
                leases.append(lease_id)
        self.histories.forget(task)
        self.order.withdraw(task)
        if self.groups is not None:
            self._estimate_group(task)
        return leases

    def take_over(self, task: int, fit: float, score: float) -> None:
        """End a task whose outcome is in the journal. No effect if it has ended."""
        if self.ended[task]:
            return
        self.learn(-1, task, fit + score, score, 0.0)
        self.end(task)

    def _is_open(self, lease_id: int) -> bool:
        """Return whether a group lease has tasks that have not ended."""
        if not self.book.is_group(lease_id):
            return False
        # Members end in order, so the last ones decide at once.
        return not all(self.ended[task] for task in reversed(self.book.tasks(lease_id)))

    def _close(self, lease_id: int) -> None:
        node = self.nodes.holder(self.book.node(lease_id))
        assert node is not None  # only live nodes hold leases
        node.drop(lease_id)
        self.book.set_state(lease_id, CLOSED)
        if self.groups is not None:
            self.groups.closed(lease_id)

    # ---- what tasks take -----------------------------------------------------------------------

    def learn(
        self, lease_id: int, task: int, seconds: float, score_seconds: float, busy_seconds: float
    ) -> None:
        """Record the seconds of a task, of its scoring, and of its slot.

        The numbers come from a node. ``max(0.0, x)``, in this order, also turns NaN into 0.0.
        """
        seconds = max(0.0, seconds)
        self.times.add(seconds)
        candidate, split = divmod(task, self.n_splits)
        if self.groups is None or self.groups.of(candidate) < 0:
            if split == 0:
                self.order.learn(candidate, seconds)
            return
        score = min(seconds, max(0.0, score_seconds))
        several = lease_id >= 0 and self.book.is_group(lease_id)
        self.groups.learn(
            lease_id if several else -1, candidate, seconds - score, score, max(0.0, busy_seconds)
        )

    def _estimate_group(self, task: int) -> None:
        """Set a group's estimate once all its members have ended on the first split."""
        candidate, split = divmod(task, self.n_splits)
        if self.groups is None or split or self.groups.of(candidate) < 0:
            return
        members = self.groups.members[self.groups.of(candidate)]
        if all(self.ended[member * self.n_splits] for member in reversed(members)):
            seconds = self.groups.together(members)
            for member in members if seconds is not None else ():
                self.order.learn(member, seconds or 0.0)
