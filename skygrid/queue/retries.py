"""Tasks with a history of failures, and those of them that wait for another attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from skygrid.queue.policies import Cause


@dataclass(slots=True)
class TaskHistory:
    """History of a task that was leased more than once. Most tasks have none."""

    attempts: int = 1
    causes: list[Cause] = field(default_factory=list)
    failed_on: set[int] = field(default_factory=set)
    """Nodes on which its slot died, or which were lost with it."""

    losses: int = 0
    alone: bool = False
    suspect: bool = False
    """Enough nodes were lost while they held the task (`RetryPolicy.isolate_after`)."""

    @property
    def dangerous(self) -> bool:
        """The task may be the cause of dead slots or lost nodes."""
        return bool(self.causes) or self.suspect


class TaskHistories:
    """The histories of a round, and the waiting dangerous tasks, the oldest first."""

    def __init__(self) -> None:
        self._of: dict[int, TaskHistory] = {}
        self._waiting: dict[int, None] = {}

    def __bool__(self) -> bool:
        """True if any task has a history."""
        return bool(self._of)

    @property
    def waiting(self) -> int:
        """Number of dangerous tasks that wait."""
        return len(self._waiting)

    def get(self, task: int) -> TaskHistory | None:
        return self._of.get(task)

    def of(self, task: int) -> TaskHistory:
        """Return the task's history; create it if needed."""
        return self._of.setdefault(task, TaskHistory())

    def is_dangerous(self, task: int) -> bool:
        """Return whether a task may be the cause of dead slots or lost nodes."""
        history = self._of.get(task)
        return history is not None and history.dangerous

    def is_suspect(self, task: int) -> bool:
        """Return whether the task is suspected of bringing nodes down."""
        history = self._of.get(task)
        return history is not None and history.suspect

    def wait(self, task: int) -> None:
        """Have a dangerous task wait for another attempt."""
        self._waiting[task] = None

    def forget(self, task: int) -> None:
        if self._of:
            self._of.pop(task, None)
            self._waiting.pop(task, None)

    def next(self, node: int, nodes: Iterable[int], held: Collection[int]) -> int | None:
        """Remove and return a dangerous task for a node; None if none suits it.

        A task avoids the nodes on which it failed while another of `nodes` can take it. A node
        never holds two suspects.
        """
        if not self._waiting:
            return None
        others = set(nodes)
        holds_suspect = any(map(self.is_suspect, held))
        for task in self._waiting:
            history = self._of[task]
            avoids = node in history.failed_on and not others <= history.failed_on
            if not avoids and not (history.suspect and holds_suspect):
                del self._waiting[task]
                return task
        return None
