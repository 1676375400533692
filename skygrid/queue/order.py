"""The order of tasks without a failure: longest first, once estimates are known."""

from __future__ import annotations

import heapq
from array import array
from typing import Protocol

UNKNOWN = -1.0
"""Estimate of a candidate that has not been fitted yet."""


class Ranking(Protocol):
    """Choice of the next waiting task.

    The waiting tasks are a byte array that the owner changes: one byte per task, 1 if it waits.
    """

    def next(self) -> int:
        """Return the next task; one must wait."""

    def learned(self, candidate: int) -> None:
        """Note that the candidate has an estimate now."""

    def returned(self, task: int) -> None:
        """Note that the task waits again."""

    def extended(self) -> None:
        """Note that the owner has added candidates."""


class LongestFirst:
    """Tasks that wait for a first attempt, or for another one after a failure that is not theirs.

    Task ``t`` is split ``t % n_splits`` of candidate ``t // n_splits``. A candidate's time on split
    0 estimates all its tasks. Every task waits at first. `by_split` uses `SplitBySplit` instead of
    `FirstSplitFirst`.
    """

    def __init__(self, n_candidates: int, n_splits: int, *, by_split: bool = False) -> None:
        self._n_splits = n_splits
        # One byte per task: `find` runs at memory speed, and 100,000 tasks take 100 kB.
        self._waits = bytearray(b"\x01") * (n_candidates * n_splits)
        self._n_waiting = n_candidates * n_splits
        self._estimates = array("d", [UNKNOWN]) * n_candidates
        kind = SplitBySplit if by_split else FirstSplitFirst
        self._ranking: Ranking = kind(self._waits, self._estimates, n_splits)

    def __len__(self) -> int:
        """Number of tasks that wait."""
        return self._n_waiting

    @property
    def leases(self) -> int:
        """Number of leases that the waiting tasks make."""
        return self._n_waiting

    def waits(self, task: int) -> bool:
        """Return whether this task waits here."""
        return bool(self._waits[task])

    def estimate(self, task: int) -> float | None:
        """Return the seconds that the task should take, None if unknown."""
        seconds = self._estimates[task // self._n_splits]
        return None if seconds == UNKNOWN else seconds

    def learn(self, candidate: int, seconds: float) -> None:
        """Set the candidate's estimate to its time on split 0. Later calls have no effect."""
        if self._estimates[candidate] == UNKNOWN:
            self._estimates[candidate] = seconds
            self._ranking.learned(candidate)

    def extend(self, count: int) -> None:
        """Add `count` candidates, whose tasks wait."""
        self._waits += b"\x01" * (count * self._n_splits)
        self._n_waiting += count * self._n_splits
        self._estimates.extend([UNKNOWN] * count)
        self._ranking.extended()

    def withdraw(self, task: int) -> None:
        """Remove a task from the waiting ones. No effect if it does not wait."""
        if self._waits[task]:
            self._waits[task] = 0
            self._n_waiting -= 1

    def put_back(self, task: int) -> None:
        """Add a task to the waiting ones. No effect if it waits already."""
        if not self._waits[task]:
            self._waits[task] = 1
            self._n_waiting += 1
            self._ranking.returned(task)

    def take(self, node: int) -> tuple[int, ...]:
        """Remove and return the next task for this node; empty if none waits."""
        return (self._next(),) if self._n_waiting else ()

    def settled(self, task: int, node: int) -> None:
        """Note that a node has fitted this task."""

    def let_go(self, task: int) -> None:
        """Note that a node gave this task up."""

    def forget(self, node: int) -> None:
        """Note that a node was lost."""

    def fall_apart(self, task: int) -> None:
        """Hand out the group of this task, on its split, task by task from now on."""

    def _next(self) -> int:
        task = self._ranking.next()
        self._waits[task] = 0
        self._n_waiting -= 1
        return task


class FirstSplitFirst:
    """Split 0 of every candidate in candidate order, then the longest estimated task.

    When no estimated task waits, the others follow in candidate order.
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
        task = self._find_first()
        if task < 0:
            task = self._find_longest()
        if task < 0:
            # The waiting tasks are neither first splits nor estimated.
            self._scan_from = task = self._waits.find(1, self._scan_from)
        return task

    def learned(self, candidate: int) -> None:
        if self._n_splits > 1:
            self._rank(candidate)

    def returned(self, task: int) -> None:
        candidate, split = divmod(task, self._n_splits)
        if split == 0:
            heapq.heappush(self._returned_firsts, candidate)
        elif self._estimates[candidate] == UNKNOWN:
            self._scan_from = min(self._scan_from, task)
        else:
            self._rank(candidate)

    def extended(self) -> None:
        self._in_longest += bytes(len(self._estimates) - len(self._in_longest))

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
    """All candidates on the first unfinished split, the longest first; then the next split.

    Tasks without an estimate go first on their split, because any of them may be the longest.
    """

    def __init__(self, waits: bytearray, estimates: array[float], n_splits: int) -> None:
        self._waits = waits
        self._estimates = estimates
        self._n_splits = n_splits
        # A heap with lazy deletion. A candidate has at most one valid entry: the first split on
        # which it waits. The initial list is in order, so it is a heap already.
        first = (0, -float("inf"))
        self._counts: list[tuple[int, float] | None] = [first] * len(estimates)
        self._heap = [(*first, candidate) for candidate in range(len(estimates))]

    def next(self) -> int:
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
        self._rank(candidate)

    def returned(self, task: int) -> None:
        self._rank(task // self._n_splits)

    def extended(self) -> None:
        for candidate in range(len(self._counts), len(self._estimates)):
            self._counts.append(None)
            self._rank(candidate)

    def _rank(self, candidate: int) -> None:
        base = candidate * self._n_splits
        task = self._waits.find(1, base, base + self._n_splits)
        if task < 0:
            return
        seconds = self._estimates[candidate]
        key = (task - base, -float("inf") if seconds == UNKNOWN else -seconds)
        if self._counts[candidate] != key:
            self._counts[candidate] = key
            heapq.heappush(self._heap, (*key, candidate))
