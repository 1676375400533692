"""The next state of a task whose slot died or whose node was lost."""

from __future__ import annotations

from skygrid.queue.leases import CLOSED
from skygrid.queue.nodes import Node
from skygrid.queue.policies import Cause, GiveUp
from skygrid.queue.state import RoundState
from skygrid.queue.verdicts import Quarantine, Retry


def after_death(
    state: RoundState, node: Node, lease_id: int, task: int, cause: Cause
) -> Retry | Quarantine | None:
    """Charge a task with the death of its slot; other tasks of the lease are not charged.

    Parameters
    ----------
    node, lease_id
        A live node, and a lease that it holds.
    task
        The task that the slot was running.

    Returns
    -------
    Retry, Quarantine or None
        None if the task had ended.
    """
    attempt = state.book.attempt(lease_id, task)
    if state.book.is_group(lease_id):
        # Fitting each member separately shows which of them kills its slot.
        state.order.fall_apart(task)
    opened = state.release(lease_id, node, CLOSED)
    for other in opened:
        if other != task:
            state.not_tried(lease_id, other)
    if task not in opened:
        return None
    history = state.histories.of(task)
    history.causes.append(cause)
    history.failed_on.add(node.number)
    decision = state.policies.retry.after_death(history.causes)
    # A copy that still runs is the next attempt, even if the policy allows none.
    if isinstance(decision, GiveUp) and task not in state.leased:
        return give_up(state, task, attempt, node, decision.reason)
    history.alone = history.alone or isinstance(decision, GiveUp) or decision.alone
    state.wait_again(task)
    candidate, split = divmod(task, state.n_splits)
    return Retry(candidate=candidate, split=split, attempt=attempt, alone=history.alone)


def after_loss(
    state: RoundState, node: Node, lease_id: int, task: int, *, charged: bool
) -> Quarantine | None:
    """Return the task of a lost node to the queue; quarantine it after too many losses.

    Parameters
    ----------
    node, lease_id
        The lost node, and a lease that it held.
    task
        A task of the lease that has not ended.
    charged
        False: no fit can have caused the loss, so it is not counted.
    """
    history = state.histories.of(task)
    if charged:
        history.losses += 1
        history.failed_on.add(node.number)
    decision = state.policies.retry.after_loss(history.losses)
    if not isinstance(decision, GiveUp):
        history.suspect = decision.alone
        state.wait_again(task)
    elif task not in state.leased:
        return give_up(state, task, state.book.attempt(lease_id, task), node, decision.reason)
    return None


def give_up(state: RoundState, task: int, attempt: int, node: Node, reason: str) -> Quarantine:
    """End a task without an outcome."""
    state.end(task)
    candidate, split = divmod(task, state.n_splits)
    name = state.nodes.name(node.number)
    return Quarantine(candidate=candidate, split=split, attempt=attempt, node=name, reason=reason)
