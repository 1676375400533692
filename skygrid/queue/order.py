"""The order in which fresh tasks are handed out: longest first, as soon as lengths are known."""

from __future__ import annotations

import heapq
from array import array
from typing import Protocol

UNKNOWN = -1.0
"""The estimate of a candidate that has not been fitted yet."""


class Ranking(Protocol):
    """Decides which of the waiting tasks comes next.

    Tasks wait in a byte array that its owner changes: one byte per task, 1 where it waits.
    """

    def next(self) -> int:
        """The next task; one must wait."""

    def learned(self, candidate: int) -> None:
        """The candidate's estimate is known now."""

    def returned(self, task: int) -> None:
        """The task waits again."""


class LongestFirst:
    """Tasks that wait for their first attempt, or for another because no fault was theirs.

    Task ``t`` is split ``t % n_splits`` of candidate ``t // n_splits``. The time of split 0 of a
    candidate is the estimate for all of its tasks.

    Parameters
    ----------
    n_candidates, n_splits
        Size of the round; every task waits at first.
    by_split
        One split is handed out after another, see `SplitBySplit`; else see `FirstSplitFirst`.
    """

    def __init__(self, n_candidates: int, n_splits: int, *, by_split: bool = False) -> None:
        self._n_splits = n_splits
        # One byte per task, so that `find` runs at memory speed and 100,000 tasks weigh 100 kB.
        self._waits = bytearray(b"\x01") * (n_candidates * n_splits)
        self._n_waiting = n_candidates * n_splits
        self._estimates = array("d", [UNKNOWN]) * n_candidates
        kind = SplitBySplit if by_split else FirstSplitFirst
        self._ranking: Ranking = kind(self._waits, self._estimates, n_splits)

    def __len__(self) -> int:
        """Tasks that wait."""
        return self._n_waiting

    @property
    def leases(self) -> int:
        """Leases that the waiting tasks make."""
        return self._n_waiting

    def waits(self, task: int) -> bool:
        """Whether this task waits here."""
        return bool(self._waits[task])

    def estimate(self, task: int) -> float | None:
        """Seconds that the task should take, or None when nothing is known."""
        seconds = self._estimates[task // self._n_splits]
        return None if seconds == UNKNOWN else seconds

    def learn(self, candidate: int, seconds: float) -> None:
        """Split 0 of the candidate took so long."""
        if self._estimates[candidate] == UNKNOWN:
            self._estimates[candidate] = seconds
            self._ranking.learned(candidate)

    def withdraw(self, task: int) -> None:
        """The task needs no attempt any more. No effect when it does not wait."""
        if self._waits[task]:
            self._waits[task] = 0
            self._n_waiting -= 1

    def put_back(self, task: int) -> None:
        """The task waits again. No effect when it waits already."""
        if not self._waits[task]:
            self._waits[task] = 1
            self._n_waiting += 1
            self._ranking.returned(task)

    def take(self, node: int) -> tuple[int, ...]:
        """Remove and return the next task for this node; empty when none waits."""
        return (self._next(),) if self._n_waiting else ()

    def settled(self, task: int, node: int) -> None:
        """A node has fitted this task."""

    def let_go(self, task: int) -> None:
        """A node that had this task will not fit it."""

    def forget(self, node: int) -> None:
        """A node was lost."""

    def fall_apart(self, task: int) -> None:
        """What is taken together with this task is taken separately from now on."""

    def _next(self) -> int:
        """Remove and return the next task; one must wait."""
        task = self._ranking.next()
        self._waits[task] = 0
        self._n_waiting -= 1
        return task


class FirstSplitFirst:
    """Split 0 of every candidate, in candidate order; then the longest of what has an estimate.

    When no estimated task waits, the others go in candidate order.
    """

    def __init__(self, waits: bytearray, estimates: array[float], n_splits: int) -> None:
        self._waits = waits
        self._estimates = estimates
        self._n_splits = n_splits
        self._next_first = 0
        self._returned_firsts: list[int] = []
        # One entry per candidate, not per task: its splits share one estimate.
        self._longest: list[tuple[float, int]] = []
        self._in_longest = bytearray(len(estimates))
        self._scan_from = 0

    def next(self) -> int:
        """The next task; one must wait."""
        task = self._find_first()
        if task < 0:
            task = self._find_longest()
        if task < 0:
            # Whatever waits now is neither a first split nor estimated.
            self._scan_from = task = self._waits.find(1, self._scan_from)
        return task

    def learned(self, candidate: int) -> None:
        """The candidate's estimate is known now."""
        if self._n_splits > 1:
            self._rank(candidate)

    def returned(self, task: int) -> None:
        """The task waits again."""
        candidate, split = divmod(task, self._n_splits)
        if split == 0:
            heapq.heappush(self._returned_firsts, candidate)
        elif self._estimates[candidate] == UNKNOWN:
            self._scan_from = min(self._scan_from, task)
        else:
            self._rank(candidate)

    def _rank(self, candidate: int) -> None:
        if not self._in_longest[candidate]:
            self._in_longest[candidate] = 1
            heapq.heappush(self._longest, (-self._estimates[candidate], candidate))

    def _find_first(self) -> int:
        while self._returned_firsts:
            task = heapq.heappop(self._returned_firsts) * self._n_splits
            if self._waits[task]:
                return task
        while self._next_first < len(self._estimates):
            task = self._next_first * self._n_splits
            self._next_first += 1
            if self._waits[task]:
                return task
        return -1

    def _find_longest(self) -> int:
        longest, n_splits = self._longest, self._n_splits
        while longest:
            candidate = longest[0][1]
            base = candidate * n_splits
            task = self._waits.find(1, base, base + n_splits)
            if task >= 0:
                return task
            heapq.heappop(longest)
            self._in_longest[candidate] = 0
        return -1


class SplitBySplit:
    """All candidates on the first split that is left, the longest first; then the next split.

    What has no estimate yet may be the longest of all, and goes before the others of its split.
    """

    def __init__(self, waits: bytearray, estimates: array[float], n_splits: int) -> None:
        self._waits = waits
        self._estimates = estimates
        self._n_splits = n_splits
        # At most one entry of a candidate counts: that of the first split on which it waits. In
        # this order they are a heap.
        first = (0, -float("inf"))
        self._counts: list[tuple[int, float] | None] = [first] * len(estimates)
        self._heap = [(*first, candidate) for candidate in range(len(estimates))]

    def next(self) -> int:
        """The next task; one must wait."""
        while True:
            split, length, candidate = self._heap[0]
            counts = self._counts[candidate] == (split, length)
            task = candidate * self._n_splits + split
            if counts and self._waits[task]:
                return task
            heapq.heappop(self._heap)
            if counts:
                self._counts[candidate] = None
                self._rank(candidate)

    def learned(self, candidate: int) -> None:
        """The candidate's estimate is known now."""
        self._rank(candidate)

    def returned(self, task: int) -> None:
        """The task waits again."""
        self._rank(task // self._n_splits)

    def _rank(self, candidate: int) -> None:
        """Enter where the candidate stands now."""
        base = candidate * self._n_splits
        task = self._waits.find(1, base, base + self._n_splits)
        if task < 0:
            return
        seconds = self._estimates[candidate]
        key = (task - base, -float("inf") if seconds == UNKNOWN else -seconds)
        if self._counts[candidate] != key:
            self._counts[candidate] = key
            heapq.heappush(self._heap, (*key, candidate))
