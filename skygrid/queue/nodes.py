"""What the queue remembers: live nodes, what fits took."""

from __future__ import annotations

from array import array
from collections.abc import ItemsView, ValuesView
from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """A live node."""

    number: int
    deadline: float
    held: set[int] = field(default_factory=set)
    running: dict[int, float] = field(default_factory=dict)
    """Lease -> when it was first seen to run."""

    slots: int = 0
    """Fits that it runs at a time, 0 when that is not known."""

    wanted: int = 0
    """Leases asked for in vain at the last pull."""

    recalled: int = 0
    """Leases asked back and not answered yet."""

    recalled_at: float = float("-inf")

    @property
    def unstarted(self) -> int:
        """Leases in hand that no slot was seen to run."""
        return len(self.held) - len(self.running)

    @property
    def idle(self) -> int:
        """Slots for which the node holds no lease."""
        return max(0, self.slots - len(self.held))

    def drop(self, lease_id: int) -> None:
        """The node does not hold this lease any more."""
        self.held.discard(lease_id)
        self.running.pop(lease_id, None)


class NodeBook:
    """Live nodes by name, and the number of every node that there ever was."""

    def __init__(self) -> None:
        self._live: dict[str, Node] = {}
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def get(self, name: str) -> Node | None:
        """A live node; None when there is none of that name."""
        return self._live.get(name)

    def welcome(self, name: str) -> Node:
        """A live node, from now on if it was not; its number is what it was before."""
        node = self._live.get(name)
        if node is None:
            number = self._numbers.setdefault(name, len(self._names))
            if number == len(self._names):
                self._names.append(name)
            self._live[name] = node = Node(number=number, deadline=0.0)
        return node

    def drop(self, name: str) -> Node | None:
        """The node is not alive any more."""
        return self._live.pop(name, None)

    def name(self, number: int) -> str:
        """Name of the node with this number."""
        return self._names[number]

    def number(self, name: str) -> int | None:
        """Number of a node that is or was alive."""
        return self._numbers.get(name)

    def holder(self, number: int) -> Node | None:
        """The live node with this number."""
        return self._live.get(self._names[number])

    def items(self) -> ItemsView[str, Node]:
        """Names and live nodes."""
        return self._live.items()

    def values(self) -> ValuesView[Node]:
        """The live nodes."""
        return self._live.values()


class Times:
    """What fits took, and the median of it."""

    def __init__(self) -> None:
        self._seconds = array("d")
        self._median: float | None = None
        self._known = 0

    def add(self, seconds: float) -> None:
        """A fit took so many seconds."""
        self._seconds.append(seconds)

    def median(self) -> float | None:
        """Median in seconds, None when nothing is known; a hundredth more changes it little."""
        count = len(self._seconds)
        if count > 1.01 * self._known:
            self._median = sorted(self._seconds)[count // 2]
            self._known = count
        return self._median
