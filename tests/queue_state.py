"""Facts about a queue that tests read and the engine has no need of."""

from __future__ import annotations

from skygrid.queue.work_queue import WorkQueue


def hungry(queue: WorkQueue) -> list[tuple[str, int]]:
    """Return live nodes whose last pull was not filled, with the leases they still want."""
    return [(name, one.wanted) for name, one in queue._state.nodes.items() if one.wanted]


def task_of(queue: WorkQueue, node: str, lease_id: int) -> tuple[int, int, int] | None:
    """Look up a lease.

    Returns
    -------
    (candidate, split, attempt) or None
        The lease's first task that has not ended; None if all have, or if the lease was not given
        to this node.
    """
    state = queue._state
    if not state.book.given(lease_id, state.nodes.number(node)):
        return None
    for task in state.book.tasks(lease_id):
        if not state.ended[task]:
            candidate, split = divmod(task, state.n_splits)
            return candidate, split, state.book.attempt(lease_id, task)
    return None
