"""The book of leases: tasks, node and state of each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

HELD = 0
"""The node holds the lease; no slot has been reported to run it."""
RUNNING = 1
"""The node holds the lease, and a slot runs it."""
EXPIRED = 2
"""Taken from a silent node. Its late reports about tasks that have not ended still count."""
CLOSED = 3
"""Reported, returned, abandoned, or its slot died."""


class LeaseBook:
    """Every lease of a round, a few bytes each, to tell late reports from wrong ones.

    Parameters
    ----------
    first_id
        Id of the first lease; ids count up from here and are never used again.
    """

    def __init__(self, first_id: int) -> None:
        self._first_id = first_id
        self._tasks = array("q")
        self._nodes = array("l")
        self._states = bytearray()
        # Most leases are the first attempt at one task. These hold the exceptions only.
        self._later_attempts: dict[tuple[int, int], int] = {}
        self._members: dict[int, tuple[int, ...]] = {}
        self._unreported: dict[int, set[int]] = {}
        self._fitted: dict[int, int] = {}

    @property
    def next_id(self) -> int:
        return self._first_id + len(self._tasks)

    def issue(self, tasks: Sequence[int], node: int) -> int:
        """Enter a new lease for one or more tasks and return its id."""
        lease_id = self._first_id + len(self._tasks)
        self._tasks.append(tasks[0])
        self._nodes.append(node)
        self._states.append(HELD)
        if len(tasks) > 1:
            self._members[lease_id] = tuple(tasks)
            self._unreported[lease_id] = set(tasks)
        return lease_id

    def given(self, lease_id: int, node: int | None) -> bool:
        """Return whether this lease was given to this node."""
        index = lease_id - self._first_id
        return 0 <= index < len(self._tasks) and self._nodes[index] == node

    def tasks(self, lease_id: int) -> tuple[int, ...]:
        """Return all tasks of a lease, including those that have ended."""
        return self._members.get(lease_id) or (self._tasks[lease_id - self._first_id],)

    def is_for(self, lease_id: int, task: int) -> bool:
        """Return whether the lease covers this task."""
        # Most calls are about a task being reported; the set avoids a scan of the tuple.
        return task in self._unreported.get(lease_id, ()) or task in self.tasks(lease_id)

    def task(self, lease_id: int) -> int:
        return self._tasks[lease_id - self._first_id]

    def is_group(self, lease_id: int) -> bool:
        return lease_id in self._members

    def node(self, lease_id: int) -> int:
        return self._nodes[lease_id - self._first_id]

    def set_attempt(self, lease_id: int, task: int, attempt: int) -> None:
        """Record that the lease is a later attempt at the task."""
        self._later_attempts[lease_id, task] = attempt

    def attempt(self, lease_id: int, task: int) -> int:
        """Return which attempt at the task the lease is, from 1."""
        return self._later_attempts.get((lease_id, task), 1) if self._later_attempts else 1

    def state(self, lease_id: int) -> int:
        return self._states[lease_id - self._first_id]

    def set_state(self, lease_id: int, state: int) -> None:
        self._states[lease_id - self._first_id] = state

    def reported(self, lease_id: int, task: int, *, answered: bool) -> int | None:
        """Record that a task of a group lease was reported; return the task whose fit answered it.

        None if it had a fit of its own. `answered`: the node reports that it ran no fit for the
        task.
        """
        self._unreported[lease_id].discard(task)
        fitted = self._fitted.setdefault(lease_id, task)
        if answered and fitted != task:
            return fitted
        self._fitted[lease_id] = task
        return None

    def has_fitted(self, lease_id: int) -> bool:
        """Return whether the node has reported any task of this group lease."""
        return lease_id in self._fitted

    def unreported(self, lease_id: int) -> bool:
        """Return whether tasks of this group lease are still to be reported."""
        return bool(self._unreported.get(lease_id))
