"""Answers to a node that asks for work: a waiting task, or part of another node's work."""

from __future__ import annotations

from skygrid.queue.nodes import Node
from skygrid.queue.policies import Hand
from skygrid.queue.state import RoundState
from skygrid.queue.stealing import most_overdue, share_out, tail_of_a_group
from skygrid.worker.wire.messages.to_agent import Lease


def next_lease(state: RoundState, node: Node, now: float) -> Lease | None:
    """Lease the most urgent task, with the other members of its group, to a node."""
    task = _next_retry(state, node) if state.histories.waiting else None
    tasks = state.order.take(node.number) if task is None else (task,)
    if len(tasks) > 1:
        tasks, *others = share_out(state, tasks)
        for other in (one for part in others for one in part):
            state.order.put_back(other)
    if tasks:
        return state.lease(tasks, node)
    tasks = most_overdue(state, node, now)
    if not tasks and state.groups is not None:
        tasks = tail_of_a_group(state, now)
    for task in tasks:
        state.histories.of(task)
    return state.lease(tasks, node, copy=True) if tasks else None


def _next_retry(state: RoundState, node: Node) -> int | None:
    held = [task for lease_id in node.held for task in state.book.tasks(lease_id)]
    # A node that neither works nor asks for work may never take the task.
    numbers = [other.number for other in state.nodes.values() if other.held or other.wanted]
    return state.histories.next(node.number, numbers, held)


def call_back(state: RoundState, now: float) -> list[tuple[str, int]]:
    """Choose nodes to ask for unstarted leases, and how many each; record the choice.

    No node is asked while tasks wait, or while no pull is unfilled.
    """
    nodes, lease = state.nodes, state.policies.lease
    if len(state.order) or not any(one.wanted for one in nodes.values()):
        return []
    hands = [
        Hand(
            node=name,
            unstarted=one.unstarted,
            wanted=one.wanted,
            askable=not one.recalled and now >= one.recalled_at + lease.recall_seconds,
            idle=max(0, one.slots - len(one.running)),
        )
        for name, one in nodes.items()
    ]
    asked = lease.share(hands, expected=sum(one.recalled for one in nodes.values()))
    for name, count in asked:
        node = nodes.welcome(name)  # asked for by `hands`, so it is live
        node.recalled, node.recalled_at = count, now
    return asked
