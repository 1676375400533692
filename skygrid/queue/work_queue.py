"""The tasks of one round: who may run what now, and what every report means for it.

Pure: no clock, no thread, no I/O. The time is passed in, in seconds of the driver's monotonic
clock, and one thread makes all calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from skygrid.queue.answers import Completion, Quarantine, Retry, Verdict
from skygrid.queue.bookkeeping import Node
from skygrid.queue.groups import Groups
from skygrid.queue.idle_slots import RoundState, most_overdue, share_out, tail_of_a_group
from skygrid.queue.leases import CLOSED, EXPIRED, RUNNING, LeaseBook
from skygrid.queue.order import LongestFirst
from skygrid.queue.policies import Cause, GiveUp, Hand, QueuePolicies
from skygrid.queue.shared_order import SharedOrder
from skygrid.worker.messages import Lease

Recorded = tuple[int, int, float, float]
"""candidate, split, seconds of the fit and of its scoring."""

_NEVER_LEASED = Completion(verdict=Verdict.UNKNOWN)


class WorkQueue:
    """All tasks of one round, pulled by nodes.

    Parameters
    ----------
    round
        Position of the round in the run.
    n_candidates, n_splits
        Size of the round.
    recorded
        (candidate, split, fit seconds, score seconds) of outcomes that the journal already holds.
    groups
        Candidates that one fit answers, in the order in which they become ready.
    prefixes
        For each candidate the number of its pipeline's first steps, which others have too; -1 for
        none. Empty: none has any.
    policies
        How to retry, speculate, expire, recall and split.
    first_lease_id
        Id of the first lease: `next_lease_id` of the round before.

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
        policies: QueuePolicies | None = None,
        first_lease_id: int = 0,
    ) -> None:
        self.round = round
        self._policies = policies or QueuePolicies()
        self._n_candidates = n_candidates
        self._n_splits = n_splits
        self._groups = Groups(groups, n_candidates, n_splits) if groups or prefixes else None
        self._order = (
            SharedOrder(n_candidates, n_splits, self._groups, prefixes)
            if self._groups
            else LongestFirst(n_candidates, n_splits)
        )
        self._state = state = RoundState(
            policies=self._policies,
            n_splits=n_splits,
            ended=bytearray(n_candidates * n_splits),
            order=self._order,
            groups=self._groups,
            book=LeaseBook(first_lease_id),
        )
        self._ended, self._book, self._nodes = state.ended, state.book, state.nodes
        self._leased, self._copies = state.leased, state.copies
        self._times, self._troubles = state.times, state.troubles
        self._n_ended = 0
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._quarantined: list[Quarantine] = []
        for candidate, split, fit, score in recorded:
            self._take_over(candidate, split, fit, score)

    # ---- what stands where ---------------------------------------------------------------------

    @property
    def n_tasks(self) -> int:
        """Tasks of the round."""
        return len(self._ended)

    @property
    def pending(self) -> int:
        """Tasks that no live node holds and that have not ended."""
        return len(self._order) + self._troubles.waiting

    @property
    def pending_leases(self) -> int:
        """Leases that the pending tasks make: one for what a single fit answers."""
        return self._order.leases + self._troubles.waiting

    @property
    def leased(self) -> int:
        """Tasks that at least one live node holds."""
        return len(self._leased)

    @property
    def ended(self) -> int:
        """Tasks that have an outcome: recorded before, completed or quarantined."""
        return self._n_ended

    @property
    def finished(self) -> bool:
        """Every task has ended, and every quarantined one was taken."""
        return self._n_ended == len(self._ended) and not self._quarantined

    @property
    def next_lease_id(self) -> int:
        """Id of the next lease, for the queue of the next round."""
        return self._book.next_id

    def hungry(self) -> list[tuple[str, int]]:
        """Live nodes whose last pull was not filled, with the leases they still want."""
        return [(name, node.wanted) for name, node in self._nodes.items() if node.wanted]

    def task_of(self, node: str, lease_id: int) -> tuple[int, int, int] | None:
        """Look a lease up.

        Returns
        -------
        (candidate, split, attempt) or None
            Of several tasks the first that has not ended; None when this node was never given that
            lease or all of it has ended.
        """
        if not self._book.given(lease_id, self._numbers.get(node)):
            return None
        for task in self._book.tasks(lease_id):
            if not self._ended[task]:
                candidate, split = divmod(task, self._n_splits)
                return candidate, split, self._book.attempt(lease_id, task)
        return None

    def in_hand(self, node: str) -> int:
        """Leases that a node holds."""
        member = self._nodes.get(node)
        return len(member.held) if member else 0

    # ---- nodes ask and live --------------------------------------------------------------------

    def pull(self, node: str, count: int, now: float, slots: int = 0) -> list[Lease]:
        """Lease up to `count` tasks to a node, the most urgent first.

        The first pull makes the node known; each one renews its leases. What it did not get
        is remembered (see `hungry`) until it pulls again. `slots` is how many fits it runs at a
        time, 0 when that is not known.
        """
        member = self._nodes.get(node) or self._welcome(node)
        member.slots = slots
        member.deadline = self._policies.lease.deadline(now)
        leases: list[Lease] = []
        while len(leases) < count:
            lease = self._lease_next(member, now)
            if lease is None:
                break
            leases.append(lease)
        member.wanted = max(0, count - len(leases))
        return leases

    def renew(self, node: str, now: float) -> None:
        """Renew all leases of a node. No effect when it is not known, or lost."""
        member = self._nodes.get(node)
        if member is not None:
            member.deadline = self._policies.lease.deadline(now)

    def started(self, node: str, lease_ids: Collection[int], now: float) -> None:
        """Note which leases a node runs now. Leases that it does not hold are ignored."""
        member = self._nodes.get(node)
        if member is None:
            return
        for lease_id in lease_ids:
            if lease_id in member.held and lease_id not in member.running:
                member.running[lease_id] = now
                self._book.set_state(lease_id, RUNNING)

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

        An outcome under an expired lease counts like any other, as long as the task has none.

        Parameters
        ----------
        node, lease_id
            Who reports, and under which lease.
        seconds
            What the fit took with its scoring, for the estimates.
        now
            Time of the report.
        candidate
            Which of the lease's candidates; None: the only one.
        score_seconds
            Of `seconds`, what the scoring took.
        busy_seconds
            What the slot spent on it.
        answered
            The node says that it ran no fit for it, as another of the lease's fits answered it.
        """
        book = self._book
        if not book.given(lease_id, self._numbers.get(node)):
            return _NEVER_LEASED
        task = book.task(lease_id)
        several = book.is_group(lease_id)
        if candidate is not None:
            task = candidate * self._n_splits + task % self._n_splits
            if task not in book.tasks(lease_id):
                return _NEVER_LEASED
        own, split = divmod(task, self._n_splits)
        fitted = book.reported(lease_id, task, answered=answered) if several else None
        abandon: tuple[tuple[str, int], ...] = ()
        if self._ended[task]:
            verdict = Verdict.LATE
        elif book.state(lease_id) == CLOSED:
            verdict = Verdict.UNKNOWN
        else:
            verdict = Verdict.FIRST
            self._learn(lease_id, own, split, seconds, score_seconds, busy_seconds)
            others = [
                other for other in self._end(task) if other != lease_id or book.unreported(other)
            ]
            abandon = tuple((self._names[book.node(other)], other) for other in others)
            self._order.settled(task, book.node(lease_id))
        if several:
            self._goes_on(lease_id, now)
        return Completion(
            verdict=verdict,
            candidate=own,
            split=split,
            attempt=book.attempt(lease_id, task),
            answered_by=-1 if fitted is None else fitted // self._n_splits,
            abandon=abandon,
        )

    def returned(self, node: str, lease_ids: Iterable[int], now: float) -> None:
        """Take unstarted leases back; it answers a recall, also when none comes.

        Leases that the node does not hold are ignored.
        """
        member = self._nodes.get(node)
        if member is None:
            return
        member.recalled = 0
        for lease_id in lease_ids:
            if lease_id not in member.held:
                continue
            for task in self._release(lease_id, member, CLOSED):
                self._not_tried(lease_id, task)

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

        What else was to be answered by the same lease is charged with nothing. All of it is fitted
        separately from now on: which of them took the slot down is then beyond doubt.

        Parameters
        ----------
        node, lease_id
            Whose slot died, and under which lease.
        cause
        now
        candidate
            Which of the lease's candidates it was at; None: the only one.

        Returns
        -------
        Retry, Quarantine or None
            None when the node does not hold that lease (any more), or it is not for that candidate,
            or the task has ended. A quarantined task has ended.
        """
        member = self._nodes.get(node)
        if member is None or lease_id not in member.held:
            return None
        task = self._book.task(lease_id)
        if candidate is not None:
            task = candidate * self._n_splits + task % self._n_splits
        if task not in self._book.tasks(lease_id):
            return None
        attempt = self._book.attempt(lease_id, task)
        if self._book.is_group(lease_id):
            self._order.fall_apart(task)
        opened = self._release(lease_id, member, CLOSED)
        for other in opened:
            if other != task:
                self._not_tried(lease_id, other)
        if task not in opened:
            return None
        trouble = self._troubles.of(task)
        trouble.causes.append(cause)
        trouble.died_on.add(member.number)
        decision = self._policies.retry.after_death(trouble.causes)
        candidate, split = divmod(task, self._n_splits)
        # A copy that still runs is the further attempt, whatever the policy says.
        if isinstance(decision, GiveUp) and task not in self._leased:
            return self._quarantine(task, attempt, node, decision.reason)
        alone = True if isinstance(decision, GiveUp) else decision.alone
        trouble.alone = trouble.alone or alone
        self._wait_again(task)
        return Retry(candidate=candidate, split=split, attempt=attempt, alone=trouble.alone)

    def take_quarantined(self) -> list[Quarantine]:
        """Tasks given up because of lost nodes, each returned once; `finished` waits for it."""
        taken, self._quarantined = self._quarantined, []
        return taken

    # ---- nodes go ------------------------------------------------------------------------------

    def node_leaves(self, node: str) -> None:
        """A node will ask no more; it may still report and return what it holds."""
        member = self._nodes.get(node)
        if member is not None:
            member.wanted = 0

    def node_lost(self, node: str, now: float, *, announced: bool = False) -> int:
        """Put a node's tasks back into the queue, not charged to them.

        A task that was in hand at too many losses is given up: see `take_quarantined`. Losses that
        were announced are not counted, as no fit can have caused them.

        Returns
        -------
        int
            Leases that the node held.
        """
        member = self._nodes.pop(node, None)
        if member is None:
            return 0
        self._order.forget(member.number)
        held = sorted(member.held)
        for lease_id in held:
            for task in self._release(lease_id, member, EXPIRED):
                self._lost(lease_id, task, node, announced=announced)
        return len(held)

    def expire(self, now: float) -> list[str]:
        """Treat nodes as lost that were not heard of for the lease timeout, and name them."""
        silent = [name for name, node in self._nodes.items() if now >= node.deadline]
        for name in silent:
            self.node_lost(name, now)
        return silent

    def recall(self, now: float) -> list[tuple[str, int]]:
        """Decide which nodes should give unstarted leases back because others run dry.

        Every node named here must answer with `returned`, with an empty list if need be; until
        then it is not named again.
        """
        if len(self._order) or not any(node.wanted for node in self._nodes.values()):
            return []
        lease = self._policies.lease
        hands = [
            Hand(
                node=name,
                unstarted=node.unstarted,
                wanted=node.wanted,
                askable=not node.recalled and now >= node.recalled_at + lease.recall_seconds,
                idle=max(0, node.slots - len(node.running)),
            )
            for name, node in self._nodes.items()
        ]
        asked = lease.share(hands, expected=sum(node.recalled for node in self._nodes.values()))
        for name, count in asked:
            self._nodes[name].recalled = count
            self._nodes[name].recalled_at = now
        return asked

    # ---- inside --------------------------------------------------------------------------------

    def _take_over(self, candidate: int, split: int, fit: float, score: float) -> None:
        if not (0 <= candidate < self._n_candidates and 0 <= split < self._n_splits):
            raise ValueError(f"no candidate {candidate}, split {split} in round {self.round}")
        task = candidate * self._n_splits + split
        if not self._ended[task]:
            self._ended[task] = 1
            self._n_ended += 1
            self._order.withdraw(task)
            self._learn(-1, candidate, split, fit + score, score, 0.0)
            self._estimate_group(task)

    def _learn(
        self,
        lease_id: int,
        candidate: int,
        split: int,
        seconds: float,
        score_seconds: float,
        busy_seconds: float,
    ) -> None:
        # The numbers come from a node. In this order of arguments, NaN gives 0.0 as well.
        seconds = max(0.0, seconds)
        self._times.add(seconds)
        if self._groups is None or self._groups.of(candidate) < 0:
            if split == 0:
                self._order.learn(candidate, seconds)
            return
        score = min(seconds, max(0.0, score_seconds))
        busy = max(0.0, busy_seconds)
        several = lease_id >= 0 and self._book.is_group(lease_id)
        self._groups.learn(lease_id if several else -1, candidate, seconds - score, score, busy)

    def _estimate_group(self, task: int) -> None:
        """When the first split of a whole group has ended, its time is the estimate for others."""
        candidate, split = divmod(task, self._n_splits)
        if self._groups is None or split or self._groups.of(candidate) < 0:
            return
        siblings = self._groups.siblings(task)
        if all(self._ended[one] for one in siblings):
            members = [one // self._n_splits for one in siblings]
            seconds = self._groups.together(members)
            for member in members if seconds is not None else ():
                self._order.learn(member, seconds or 0.0)

    def _not_tried(self, lease_id: int, task: int) -> None:
        """A lease ended before it came to this task; it counts as no attempt."""
        trouble = self._troubles.get(task)
        if trouble is not None and trouble.attempts == self._book.attempt(lease_id, task):
            trouble.attempts -= 1
        self._wait_again(task)

    def _lost(self, lease_id: int, task: int, node: str, *, announced: bool) -> None:
        """The node that held the task was lost."""
        trouble = self._troubles.of(task)
        trouble.losses += not announced
        decision = self._policies.retry.after_loss(trouble.losses)
        if not isinstance(decision, GiveUp):
            trouble.suspect = decision.alone
            self._wait_again(task)
        elif task not in self._leased:
            attempt = self._book.attempt(lease_id, task)
            self._quarantined.append(self._quarantine(task, attempt, node, decision.reason))

    def _welcome(self, name: str) -> Node:
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        self._nodes[name] = member = Node(number=number, deadline=0.0)
        return member

    def _lease_next(self, member: Node, now: float) -> Lease | None:
        task = self._next_retry(member) if self._troubles.waiting else None
        tasks = self._order.take(member.number) if task is None else (task,)
        if len(tasks) > 1:
            tasks, *others = share_out(self._state, tasks)
            for other in (one for part in others for one in part):
                self._order.put_back(other)
        if tasks:
            return self._lease(tasks, member, self._leased)
        tasks = most_overdue(self._state, member, now)
        if not tasks and self._groups is not None:
            tasks = tail_of_a_group(self._state, now)
        for task in tasks:
            self._troubles.of(task)
        return self._lease(tasks, member, self._copies) if tasks else None

    def _lease(self, tasks: Sequence[int], member: Node, holders: dict[int, int]) -> Lease:
        lease_id = self._book.issue(tasks, member.number)
        member.held.add(lease_id)
        alone = False
        for task in tasks:
            holders[task] = lease_id
            if self._troubles and (trouble := self._troubles.get(task)) is not None:
                trouble.attempts += 1
                if trouble.attempts > 1:
                    self._book.set_attempt(lease_id, task, trouble.attempts)
                alone = alone or trouble.alone or trouble.suspect
        candidate, split = divmod(tasks[0], self._n_splits)
        bits = self._groups.bits(tasks) if self._groups and len(tasks) > 1 else 0
        return Lease(lease_id, candidate, split, alone, bits)

    def _next_retry(self, member: Node) -> int | None:
        held = [task for lease_id in member.held for task in self._book.tasks(lease_id)]
        numbers = [node.number for node in self._nodes.values()]
        return self._troubles.next(member.number, numbers, held)

    def _goes_on(self, lease_id: int, now: float) -> None:
        """A node reported a member of this lease, and is at the next one now."""
        member = self._nodes.get(self._names[self._book.node(lease_id)])
        if member is not None and lease_id in member.held:
            member.running[lease_id] = now
            self._book.set_state(lease_id, RUNNING)

    def _release(self, lease_id: int, member: Node, state: int) -> list[int]:
        """Take a held lease from its node, and from its tasks; return those that have not ended."""
        member.drop(lease_id)
        self._book.set_state(lease_id, state)
        opened = [task for task in self._book.tasks(lease_id) if not self._ended[task]]
        for task in opened:
            if self._copies.get(task) == lease_id:
                del self._copies[task]
            elif task in self._copies:
                self._leased[task] = self._copies.pop(task)
            else:
                del self._leased[task]
            self._order.let_go(task)
        if self._groups is not None:
            self._groups.closed(lease_id)
        return opened

    def _wait_again(self, task: int) -> None:
        if task in self._leased:
            return
        if self._troubles.is_dangerous(task):
            self._troubles.wait(task)
        else:
            self._order.put_back(task)

    def _end(self, task: int) -> list[int]:
        """Mark a task as ended; close and return the leases that are of no use any more."""
        self._ended[task] = 1
        self._n_ended += 1
        leases = []
        for lease_id in (self._leased.pop(task, None), self._copies.pop(task, None)):
            if lease_id is not None and not self._is_open(lease_id):
                self._holder(lease_id).drop(lease_id)
                self._book.set_state(lease_id, CLOSED)
                leases.append(lease_id)
                if self._groups is not None:
                    self._groups.closed(lease_id)
        self._troubles.forget(task)
        self._order.withdraw(task)
        if self._groups is not None:
            self._estimate_group(task)
        return leases

    def _is_open(self, lease_id: int) -> bool:
        """Whether the lease is for several tasks, and some have not ended."""
        if not self._book.is_group(lease_id):
            return False
        return not all(self._ended[task] for task in self._book.tasks(lease_id))

    def _quarantine(self, task: int, attempt: int, node: str, reason: str) -> Quarantine:
        self._end(task)
        candidate, split = divmod(task, self._n_splits)
        return Quarantine(
            candidate=candidate, split=split, attempt=attempt, node=node, reason=reason
        )

    def _holder(self, lease_id: int) -> Node:
        """The live node that holds a lease."""
        return self._nodes[self._names[self._book.node(lease_id)]]
