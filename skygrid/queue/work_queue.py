"""The tasks of one round, and the requests and reports of nodes.

Pure: times are passed in, in seconds of the driver's monotonic clock. One thread makes all calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from skygrid.queue.dispatch import call_back, next_lease
from skygrid.queue.failures import after_death, after_loss
from skygrid.queue.leases import CLOSED, EXPIRED, RUNNING
from skygrid.queue.policies import Cause, Fault, QueuePolicies
from skygrid.queue.state import RoundState
from skygrid.queue.verdicts import Completion, Quarantine, Retry, Verdict
from skygrid.worker.wire.messages.to_agent import Lease

Recorded = tuple[int, int, float, float]
"""Candidate, split, seconds of the fit and seconds of its scoring."""

_NEVER_LEASED = Completion(verdict=Verdict.UNKNOWN)


class WorkQueue:
    """All tasks of one round, pulled by nodes.

    Parameters
    ----------
    round
        Position of the round in the run.
    recorded
        Outcomes that the journal already holds.
    groups
        Candidates that one fit answers, in the order in which they become ready.
    prefixes
        Number of each candidate's shared pipeline prefix, -1 for none; empty: none has any.
    by_split
        Hand out all candidates' fits on one split before those on the next.
    first_lease_id
        `next_lease_id` of the round before.

    Raises
    ------
    ValueError
        A recorded outcome or a group lies outside the round.
    """

    def __init__(
        self,
        *,
        round: int,
        n_candidates: int,
        n_splits: int,
        recorded: Iterable[Recorded] = (),
        groups: Sequence[Sequence[int]] = (),
        prefixes: Sequence[int] = (),
        by_split: bool = False,
        policies: QueuePolicies | None = None,
        first_lease_id: int = 0,
    ) -> None:
        self.round = round
        self._n_candidates = n_candidates
        self._state = RoundState(
            n_candidates=n_candidates,
            n_splits=n_splits,
            groups=groups,
            prefixes=prefixes,
            by_split=by_split,
            policies=policies or QueuePolicies(),
            first_lease_id=first_lease_id,
        )
        self._quarantined: list[Quarantine] = []
        for candidate, split, fit, score in recorded:
            self._state.take_over(self._number(candidate, split), fit, score)

    # ---- what stands where ---------------------------------------------------------------------

    @property
    def n_tasks(self) -> int:
        return len(self._state.ended)

    @property
    def pending(self) -> int:
        """Number of unfinished tasks that no live node holds."""
        return len(self._state.order) + self._state.histories.waiting

    @property
    def pending_leases(self) -> int:
        return self._state.order.leases + self._state.histories.waiting

    @property
    def leased(self) -> int:
        """Number of tasks that at least one live node holds."""
        return len(self._state.leased)

    @property
    def ended(self) -> int:
        """Number of tasks with an outcome: recorded before, completed or quarantined."""
        return self._state.n_ended

    @property
    def finished(self) -> bool:
        """True when every task has ended and every quarantined one has been taken."""
        return self._state.n_ended == len(self._state.ended) and not self._quarantined

    @property
    def next_lease_id(self) -> int:
        """Id of the next lease, for the queue of the next round."""
        return self._state.book.next_id

    def in_hand(self, node: str) -> int:
        member = self._state.nodes.get(node)
        return len(member.held) if member else 0

    # ---- a round that grows --------------------------------------------------------------------

    def extend(self, count: int) -> int:
        """Add `count` candidates to the round; return the number of the first.

        Raises
        ------
        ValueError
            Candidates of the round share fits or prefixes, which are known when it begins.
        """
        first = self._n_candidates
        self._state.extend(count)
        self._n_candidates += count
        return first

    def cancel(self, candidates: Iterable[int]) -> list[tuple[str, int]]:
        """End all tasks of these candidates without an outcome.

        Returns
        -------
        list of (node, lease)
            Leases that nodes should give up.
        """
        state, book = self._state, self._state.book
        leases: list[int] = []
        for candidate in candidates:
            base = self._number(candidate, 0)
            for task in range(base, base + state.n_splits):
                if not state.ended[task]:
                    leases += state.end(task)
        return [(state.nodes.name(book.node(lease)), lease) for lease in leases]

    # ---- nodes ask and live --------------------------------------------------------------------

    def pull(self, node: str, count: int, now: float, slots: int = 0) -> list[Lease]:
        """Lease up to `count` tasks to a node, the most urgent first.

        The first pull adds the node; each pull renews its leases. Leases that are missing are
        remembered until the next pull. `slots`: fits that the node runs at a time, 0
        if unknown.
        """
        member = self._state.nodes.welcome(node)
        member.slots = slots
        member.deadline = self._state.policies.lease.deadline(now)
        if not member.held:
            member.active_at = now
        leases: list[Lease] = []
        while len(leases) < count:
            lease = next_lease(self._state, member, now)
            if lease is None:
                break
            leases.append(lease)
        member.wanted = max(0, count - len(leases))
        return leases

    def renew(self, node: str, now: float, *, reachable: bool = True) -> None:
        """Renew all leases of a node. No effect for an unknown or lost node.

        Parameters
        ----------
        reachable
            False while the connection is restored: the node cannot be asked or report then.
        """
        member = self._state.nodes.get(node)
        if member is not None:
            member.deadline = self._state.policies.lease.deadline(now)
            if not reachable:
                member.recalled_at = member.active_at = now

    def started(self, node: str, lease_ids: Collection[int], now: float) -> None:
        """Note the leases that a node runs now. Leases that it does not hold are ignored."""
        member = self._state.nodes.get(node)
        if member is None:
            return
        for lease_id in lease_ids:
            if lease_id in member.held and lease_id not in member.running:
                member.running[lease_id] = member.active_at = now
                self._state.book.set_state(lease_id, RUNNING)

    def running(self, node: str) -> list[tuple[int, int, float]]:
        """Return (candidate, split, time of the first report) of the fits that a node runs."""
        state = self._state
        member = state.nodes.get(node)
        if member is None:
            return []
        return [
            (*divmod(state.book.task(lease_id), state.n_splits), since)
            for lease_id, since in member.running.items()
        ]

    def transferred(self, node: str, now: float) -> None:
        """Note that data moves to or from a node.

        The node starts leases, and answers recalls, only when the messages before them have
        arrived. No effect for an unknown or lost node.
        """
        member = self._state.nodes.get(node)
        if member is not None:
            member.active_at = now
            if member.recalled:
                member.recalled_at = now

    # ---- nodes report --------------------------------------------------------------------------

    def complete(
        self,
        node: str,
        lease_id: int,
        seconds: float,
        now: float,
        *,
        candidate: int | None = None,
        score_seconds: float = 0.0,
        busy_seconds: float = 0.0,
        answered: bool = False,
    ) -> Completion:
        """Take the outcome of a lease, or of one of its tasks. The first outcome of a task wins.

        An outcome under an expired lease counts like any other while the task has none.

        Parameters
        ----------
        seconds
            Time of the fit and its scoring.
        now
            Time of the report.
        candidate
            Candidate of the lease; None: its only one.
        score_seconds
            Time of the scoring, included in `seconds`.
        busy_seconds
            Time that the slot spent on the task.
        answered
            The node reports that another fit of the lease answered this task.
        """
        state, book = self._state, self._state.book
        if not book.given(lease_id, state.nodes.number(node)):
            return _NEVER_LEASED
        task = self._named(lease_id, candidate)
        if task is None:
            return _NEVER_LEASED
        state.nodes.acted(node, now)
        several = book.is_group(lease_id)
        fitted = book.reported(lease_id, task, answered=answered) if several else None
        abandon: tuple[tuple[str, int], ...] = ()
        if state.ended[task]:
            verdict = Verdict.LATE
        elif book.state(lease_id) == CLOSED:
            verdict = Verdict.UNKNOWN
        else:
            verdict = Verdict.FIRST
            state.learn(lease_id, task, seconds, score_seconds, busy_seconds)
            abandon = self._useless(state.end(task), lease_id)
            state.order.settled(task, book.node(lease_id))
        if several:
            state.goes_on(lease_id, now)
        own, split = divmod(task, state.n_splits)
        return Completion(
            verdict=verdict,
            candidate=own,
            split=split,
            attempt=book.attempt(lease_id, task),
            answered_by=-1 if fitted is None else fitted // state.n_splits,
            abandon=abandon,
        )

    def returned(self, node: str, lease_ids: Iterable[int], now: float) -> None:
        """Take unstarted leases back. Answers a recall, even with no leases.

        Leases that the node does not hold are ignored.
        """
        member = self._state.nodes.get(node)
        if member is None:
            return
        member.recalled, member.active_at = 0, now
        for lease_id in lease_ids:
            if lease_id not in member.held:
                continue
            for task in self._state.release(lease_id, member, CLOSED):
                self._state.not_tried(lease_id, task)

    def slot_died(
        self,
        node: str,
        lease_id: int,
        cause: Cause,
        now: float,
        *,
        candidate: int | None = None,
    ) -> Retry | Quarantine | None:
        """Charge a task with the death of the slot that ran it.

        Other tasks of the lease are not charged. All are fitted separately from now on, which shows
        the one that kills its slot.

        Parameters
        ----------
        candidate
            Candidate that the slot was running; None: the lease's only one.

        Returns
        -------
        Retry, Quarantine or None
            None if the node does not hold the lease, it is not for the candidate, or the task has
            ended.
        """
        member = self._state.nodes.get(node)
        if member is None or lease_id not in member.held:
            return None
        member.active_at = now
        task = self._named(lease_id, candidate)
        return None if task is None else after_death(self._state, member, lease_id, task, cause)

    def take_quarantined(self) -> list[Quarantine]:
        """Return tasks given up because of lost nodes, each once; `finished` waits for it."""
        taken, self._quarantined = self._quarantined, []
        return taken

    def take_splits_over(self) -> list[int]:
        """Return splits on which every candidate has ended, each once."""
        taken, self._state.splits_over = self._state.splits_over, []
        return taken

    # ---- nodes go ------------------------------------------------------------------------------

    def node_leaves(self, node: str) -> None:
        """Note that a node pulls no more; it may still report and return its leases."""
        member = self._state.nodes.get(node)
        if member is not None:
            member.wanted = 0

    def node_lost(self, node: str, *, charged: bool = True) -> int:
        """Return a lost node's tasks to the queue; return the number of its leases.

        A task that was in hand at too many losses is given up, see `take_quarantined`.

        Parameters
        ----------
        charged
            False: the loss is not counted, because no fit can have caused it.
        """
        member = self._state.nodes.drop(node)
        if member is None:
            return 0
        self._state.order.forget(member.number)
        held = sorted(member.held)
        for lease_id in held:
            for task in self._state.release(lease_id, member, EXPIRED):
                given_up = after_loss(self._state, member, lease_id, task, charged=charged)
                if given_up is not None:
                    self._quarantined.append(given_up)
        return len(held)

    def expire(self, now: float) -> list[tuple[str, Fault]]:
        """Drop nodes that are silent or do no work; return the name and fault of each."""
        lease = self._state.policies.lease
        faults = {
            name: lease.fault(
                expired=now >= one.deadline,
                unanswered=one.unanswered_seconds(now),
                stalled=one.stalled_seconds(now),
            )
            for name, one in self._state.nodes.items()
        }
        dropped = [(name, fault) for name, fault in faults.items() if fault is not None]
        for name, fault in dropped:
            self.node_lost(name, charged=fault.silent)
        return dropped

    def recall(self, now: float) -> list[tuple[str, int]]:
        """Choose nodes that should return unstarted leases because others run dry.

        Each of them must answer with `returned`, if need be with an empty list; it is not chosen
        again before.
        """
        return call_back(self._state, now)

    # ---- inside --------------------------------------------------------------------------------

    def _number(self, candidate: int, split: int) -> int:
        if not (0 <= candidate < self._n_candidates and 0 <= split < self._state.n_splits):
            raise ValueError(f"no candidate {candidate}, split {split} in round {self.round}")
        return candidate * self._state.n_splits + split

    def _named(self, lease_id: int, candidate: int | None) -> int | None:
        """Return the task of a lease for this candidate, None if it has none.

        Without a candidate: the lease's first task.
        """
        state = self._state
        task = state.book.task(lease_id)
        if candidate is None:
            return task
        task = candidate * state.n_splits + task % state.n_splits
        return task if state.book.is_for(lease_id, task) else None

    def _useless(self, ended: Sequence[int], reported: int) -> tuple[tuple[str, int], ...]:
        """Return the leases that a report has ended and a node may still be running."""
        book, nodes = self._state.book, self._state.nodes
        return tuple(
            (nodes.name(book.node(lease_id)), lease_id)
            for lease_id in ended
            if lease_id != reported or book.unreported(lease_id)
        )
