"""Tasks with a history: what went wrong under them, and which of them wait for another attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from skygrid.queue.policies import Cause


@dataclass(slots=True)
class Trouble:
    """History of a task that was leased more than once. Most tasks have none."""

    attempts: int = 1
    causes: list[Cause] = field(default_factory=list)
    died_on: set[int] = field(default_factory=set)
    losses: int = 0
    alone: bool = False
    suspect: bool = False
    """Nodes were lost while they held it."""

    @property
    def dangerous(self) -> bool:
        """Whether the task may be what takes slots and nodes down."""
        return bool(self.causes) or self.suspect


class Troubles:
    """The histories of a round, and the dangerous tasks that wait, the oldest first."""

    def __init__(self) -> None:
        self._of: dict[int, Trouble] = {}
        self._waiting: dict[int, None] = {}

    def __bool__(self) -> bool:
        """Whether any task has a history."""
        return bool(self._of)

    @property
    def waiting(self) -> int:
        """Dangerous tasks that wait."""
        return len(self._waiting)

    def get(self, task: int) -> Trouble | None:
        """The task's history, if it has one."""
        return self._of.get(task)

    def of(self, task: int) -> Trouble:
        """The task's history, from now on it has one."""
        return self._of.setdefault(task, Trouble())

    def is_dangerous(self, task: int) -> bool:
        """Whether a task may be what takes slots and nodes down."""
        trouble = self._of.get(task)
        return trouble is not None and trouble.dangerous

    def is_suspect(self, task: int) -> bool:
        """Whether nodes were lost while they held the task."""
        trouble = self._of.get(task)
        return trouble is not None and trouble.suspect

    def wait(self, task: int) -> None:
        """A dangerous task waits for another attempt."""
        self._waiting[task] = None

    def forget(self, task: int) -> None:
        """The task has ended."""
        if self._of:
            self._of.pop(task, None)
            self._waiting.pop(task, None)

    def next(self, node: int, nodes: Iterable[int], held: Collection[int]) -> int | None:
        """Remove and return a dangerous task for a node.

        Parameters
        ----------
        node
            Its number.
        nodes
            The numbers of all live nodes.
        held
            Tasks that the node holds.

        Returns
        -------
        int or None
            A task goes elsewhere than where its slot died, if there is an elsewhere; suspects do
            not meet on one node.
        """
        if not self._waiting:
            return None
        others = set(nodes)
        holds_suspect = any(map(self.is_suspect, held))
        for task in self._waiting:
            trouble = self._of[task]
            avoids = node in trouble.died_on and not others <= trouble.died_on
            if not avoids and not (trouble.suspect and holds_suspect):
                del self._waiting[task]
                return task
        return None
