"""What the queue remembers: live nodes, what fits took."""

from __future__ import annotations

from array import array
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
