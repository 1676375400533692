"""Work for a slot when no task waits: a share or a copy of another's work. Pure decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skygrid.queue.nodes import Node
from skygrid.queue.splitting import group_seconds
from skygrid.queue.state import RoundState


def share_out(state: RoundState, tasks: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Divide a group between slots that would idle; otherwise keep it whole.

    Returns
    -------
    list of tuple of int
        The part to lease now, then the others.
    """
    # The slot that asks is one of the idle ones.
    spare = sum(node.idle for node in state.nodes.values()) - state.order.leases
    seconds = state.groups.seconds(tasks) if state.groups is not None and spare > 1 else None
    if seconds is None:
        return [tasks]
    parts = state.policies.split.parts(seconds, spare)
    return [tuple(tasks[at] for at in part) for part in parts]


def most_overdue(state: RoundState, asking: Node, now: float) -> tuple[int, ...]:
    """Return the most overdue tasks that run on another node; empty if none is overdue."""
    policy = state.policies.speculation
    worst: float = 0.0
    chosen: tuple[int, ...] = ()
    if policy is None:
        return chosen
    for node in state.nodes.values():
        if node is asking:
            continue
        for lease_id, since in node.running.items():
            tasks = _left(state, lease_id)
            if tasks:
                excess = policy.overdue(now - since, _expected(state, tasks))
                if excess is not None and excess > worst:
                    worst, chosen = excess, tasks
    return chosen


def tail_of_a_group(state: RoundState, now: float) -> tuple[int, ...]:
    """Return members of a running group for an idle slot; empty if none."""
    longest: float = 0.0
    chosen: tuple[int, ...] = ()
    for lease_id, since in _running_groups(state):
        tasks = _left(state, lease_id)
        seconds = state.groups.seconds(tasks) if state.groups is not None else None
        if seconds is None or len(tasks) < 2:
            continue
        left = group_seconds(seconds) - (now - since)
        fitted = state.book.has_fitted(lease_id)
        cut = state.policies.split.tail(seconds, now - since, fitted=fitted)
        if cut and left > longest:
            longest, chosen = left, tasks[cut:]
    return chosen


def _running_groups(state: RoundState) -> Iterator[tuple[int, float]]:
    for node in state.nodes.values():
        for lease_id, since in node.running.items():
            if state.book.is_group(lease_id):
                yield lease_id, since


def _left(state: RoundState, lease_id: int) -> tuple[int, ...]:
    """Return the unfinished tasks of a lease; none if any is dangerous or leased twice."""
    tasks = tuple(task for task in state.book.tasks(lease_id) if not state.ended[task])
    for task in tasks:
        if task in state.copies or state.histories.is_dangerous(task):
            return ()
    return tasks


def _expected(state: RoundState, tasks: Sequence[int]) -> float | None:
    """Return the seconds that one slot should take for these tasks; None if unknown."""
    if len(tasks) > 1 and state.groups is not None:
        known = state.groups.together(task // state.n_splits for task in tasks)
    else:
        known = state.order.estimate(tasks[0])
    if known is None and (median := state.times.median()) is not None:
        known = median * len(tasks)
    return known
