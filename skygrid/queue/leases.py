"""Which lease was given for which tasks to which node, and what became of it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

HELD = 0
"""The node holds it; no slot was seen to run it."""
RUNNING = 1
"""The node holds it, and a slot runs it."""
EXPIRED = 2
"""Taken from a node that fell silent. What it may still report about its tasks counts."""
CLOSED = 3
"""Reported, returned, abandoned, or its slot died."""


class LeaseBook:
    """Every lease of a round, a few bytes for each, kept to tell late reports from lies.

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
        # Most leases are for one task and its first attempt; only the others are in these.
        self._later_attempts: dict[tuple[int, int], int] = {}
        self._members: dict[int, tuple[int, ...]] = {}
        self._unreported: dict[int, set[int]] = {}
        self._fitted: dict[int, int] = {}

    @property
    def next_id(self) -> int:
        """Id of the next lease."""
        return self._first_id + len(self._tasks)

    def issue(self, tasks: Sequence[int], node: int) -> int:
        """Write down a new lease, for at least one task, and return its id."""
        lease_id = self._first_id + len(self._tasks)
        self._tasks.append(tasks[0])
        self._nodes.append(node)
        self._states.append(HELD)
        if len(tasks) > 1:
            self._members[lease_id] = tuple(tasks)
            self._unreported[lease_id] = set(tasks)
        return lease_id

    def given(self, lease_id: int, node: int | None) -> bool:
        """Whether this node was ever given this lease."""
        index = lease_id - self._first_id
        return 0 <= index < len(self._tasks) and self._nodes[index] == node

    def tasks(self, lease_id: int) -> tuple[int, ...]:
        """All tasks that a lease was for, those that have ended included."""
        return self._members.get(lease_id) or (self._tasks[lease_id - self._first_id],)

    def is_for(self, lease_id: int, task: int) -> bool:
        """Whether the lease is for this task, perhaps among others."""
        # Most are asked of a task that is reported: the set knows without a search.
        return task in self._unreported.get(lease_id, ()) or task in self.tasks(lease_id)

    def task(self, lease_id: int) -> int:
        """The first task of a lease."""
        return self._tasks[lease_id - self._first_id]

    def is_group(self, lease_id: int) -> bool:
        """Whether the lease is for several tasks."""
        return lease_id in self._members

    def node(self, lease_id: int) -> int:
        """Number of the node that a lease was given to."""
        return self._nodes[lease_id - self._first_id]

    def set_attempt(self, lease_id: int, task: int, attempt: int) -> None:
        """The lease is not the first attempt at the task but a later one."""
        self._later_attempts[lease_id, task] = attempt

    def attempt(self, lease_id: int, task: int) -> int:
        """Attempt at the task that a lease is, from 1."""
        return self._later_attempts.get((lease_id, task), 1) if self._later_attempts else 1

    def state(self, lease_id: int) -> int:
        """One of `HELD`, `RUNNING`, `EXPIRED`, `CLOSED`."""
        return self._states[lease_id - self._first_id]

    def set_state(self, lease_id: int, state: int) -> None:
        """Change a lease's state."""
        self._states[lease_id - self._first_id] = state

    def reported(self, lease_id: int, task: int, *, answered: bool) -> int | None:
        """The node has reported this task under this lease of several.

        Parameters
        ----------
        lease_id, task
            A lease, and one of its tasks.
        answered
            By the node's account no fit was run for it.

        Returns
        -------
        int or None
            The task whose fit answered it, None when it had one of its own.
        """
        self._unreported[lease_id].discard(task)
        fitted = self._fitted.setdefault(lease_id, task)
        if answered and fitted != task:
            return fitted
        self._fitted[lease_id] = task
        return None

    def has_fitted(self, lease_id: int) -> bool:
        """Whether the node has reported any task of this lease of several."""
        return lease_id in self._fitted

    def unreported(self, lease_id: int) -> bool:
        """Whether the node has yet to report tasks of this lease of several."""
        return bool(self._unreported.get(lease_id))
