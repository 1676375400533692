"""The queue's record of live nodes and fit times."""

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
    """Lease -> time at which it was first reported as running."""

    slots: int = 0
    """Fits that the node runs at a time, 0 if unknown."""

    wanted: int = 0
    """Leases missing from the answer to the last pull."""

    recalled: int = 0
    """Leases asked back and not returned yet."""

    recalled_at: float = float("-inf")

    active_at: float = 0.0
    """Last time at which the node got work with empty hands, or started or reported a fit."""

    @property
    def unstarted(self) -> int:
        """Leases held that no slot has been reported to run."""
        return len(self.held) - len(self.running)

    def unanswered_seconds(self, now: float) -> float:
        """Return the seconds for which a recall has had no answer."""
        return now - self.recalled_at if self.recalled else 0.0

    def stalled_seconds(self, now: float) -> float:
        """Return the seconds for which the node has held leases and run none of them."""
        return now - self.active_at if self.held and not self.running else 0.0

    @property
    def idle(self) -> int:
        """Slots for which the node holds no lease."""
        return max(0, self.slots - len(self.held))

    def drop(self, lease_id: int) -> None:
        self.held.discard(lease_id)
        self.running.pop(lease_id, None)


class NodeBook:
    """Live nodes by name, and the numbers of all nodes, live or lost."""

    def __init__(self) -> None:
        self._live: dict[str, Node] = {}
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def get(self, name: str) -> Node | None:
        return self._live.get(name)

    def welcome(self, name: str) -> Node:
        """Return the live node of that name, added if needed; a returning node keeps its number."""
        node = self._live.get(name)
        if node is None:
            number = self._numbers.setdefault(name, len(self._names))
            if number == len(self._names):
                self._names.append(name)
            self._live[name] = node = Node(number=number, deadline=0.0)
        return node

    def acted(self, name: str, now: float) -> None:
        """Note that a node has reported a fit. No effect for one that is not live."""
        node = self._live.get(name)
        if node is not None:
            node.active_at = now

    def drop(self, name: str) -> Node | None:
        return self._live.pop(name, None)

    def name(self, number: int) -> str:
        return self._names[number]

    def number(self, name: str) -> int | None:
        """Return the number of a node, live or lost."""
        return self._numbers.get(name)

    def holder(self, number: int) -> Node | None:
        """Return the live node with this number."""
        return self._live.get(self._names[number])

    def items(self) -> ItemsView[str, Node]:
        return self._live.items()

    def values(self) -> ValuesView[Node]:
        return self._live.values()


class Times:
    """Times of fits, and their median."""

    def __init__(self) -> None:
        self._seconds = array("d")
        self._median: float | None = None
        self._known = 0

    def add(self, seconds: float) -> None:
        """Add the time of a fit, in seconds."""
        self._seconds.append(seconds)

    def median(self) -> float | None:
        """Return the median in seconds, None without times; recomputed per 1 % of new times."""
        count = len(self._seconds)
        if count > 1.01 * self._known:
            self._median = sorted(self._seconds)[count // 2]
            self._known = count
        return self._median
