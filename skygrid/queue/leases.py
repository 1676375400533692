"""Which lease was given for which task to which node, and what became of it."""

from __future__ import annotations

from array import array

HELD = 0
"""The node holds it; no slot was seen to run it."""
RUNNING = 1
"""The node holds it, and a slot runs it."""
EXPIRED = 2
"""Taken from a node that fell silent. What it may still report about the task counts."""
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
        self._later_attempts: dict[int, int] = {}

    @property
    def next_id(self) -> int:
        """Id of the next lease."""
        return self._first_id + len(self._tasks)

    def issue(self, task: int, node: int, attempt: int) -> int:
        """Write down a new lease and return its id."""
        lease_id = self._first_id + len(self._tasks)
        self._tasks.append(task)
        self._nodes.append(node)
        self._states.append(HELD)
        if attempt != 1:
            self._later_attempts[lease_id] = attempt
        return lease_id

    def task_for(self, lease_id: int, node: int | None) -> int | None:
        """Task of a lease, or None when this node was never given it."""
        index = lease_id - self._first_id
        if 0 <= index < len(self._tasks) and self._nodes[index] == node:
            return self._tasks[index]
        return None

    def task(self, lease_id: int) -> int:
        """Task of a lease that exists."""
        return self._tasks[lease_id - self._first_id]

    def node(self, lease_id: int) -> int:
        """Number of the node that a lease was given to."""
        return self._nodes[lease_id - self._first_id]

    def attempt(self, lease_id: int) -> int:
        """Attempt at the task that a lease is, from 1."""
        return self._later_attempts.get(lease_id, 1)

    def state(self, lease_id: int) -> int:
        """One of `HELD`, `RUNNING`, `EXPIRED`, `CLOSED`."""
        return self._states[lease_id - self._first_id]

    def set_state(self, lease_id: int, state: int) -> None:
        """Change a lease's state."""
        self._states[lease_id - self._first_id] = state
