"""The tasks of one round: who may run what now, and what every report means for it.

Pure: no clock, no thread, no I/O. The time is passed in, in seconds of the driver's monotonic
clock, and one thread makes all calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from skygrid.queue.answers import Completion, Quarantine, Retry, Verdict
from skygrid.queue.bookkeeping import Node, Times, Trouble
from skygrid.queue.leases import CLOSED, EXPIRED, RUNNING, LeaseBook
from skygrid.queue.order import LongestFirst
from skygrid.queue.policies import Cause, GiveUp, Hand, QueuePolicies
from skygrid.worker.messages import Lease

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
        (candidate, split, seconds) of outcomes that the journal already holds.
    policies
        How to retry, speculate, expire and recall.
    first_lease_id
        Id of the first lease: `next_lease_id` of the round before.

    Raises
    ------
    ValueError
        A recorded outcome lies outside the round.
    """

    def __init__(
        self,
        *,
        round: int,
        n_candidates: int,
        n_splits: int,
        recorded: Iterable[tuple[int, int, float]] = (),
        policies: QueuePolicies | None = None,
        first_lease_id: int = 0,
    ) -> None:
        self.round = round
        self._policies = policies or QueuePolicies()
        self._n_candidates = n_candidates
        self._n_splits = n_splits
        self._order = LongestFirst(n_candidates, n_splits)
        self._ended = bytearray(n_candidates * n_splits)
        self._n_ended = 0
        self._times = Times()
        self._book = LeaseBook(first_lease_id)
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._nodes: dict[str, Node] = {}
        self._leased: dict[int, int] = {}  # task -> its lease
        self._copies: dict[int, int] = {}  # task -> lease of its second copy
        self._retries: dict[int, None] = {}  # tasks, the oldest first
        self._troubles: dict[int, Trouble] = {}
        self._quarantined: list[Quarantine] = []
        for candidate, split, seconds in recorded:
            self._take_over(candidate, split, seconds)

    # ---- what stands where ---------------------------------------------------------------------

    @property
    def n_tasks(self) -> int:
        """Tasks of the round."""
        return len(self._ended)

    @property
    def pending(self) -> int:
        """Tasks that no live node holds and that have not ended."""
        return len(self._order) + len(self._retries)

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
            None when this node was never given that lease or its task has ended.
        """
        task = self._book.task_for(lease_id, self._numbers.get(node))
        if task is None or self._ended[task]:
            return None
        candidate, split = divmod(task, self._n_splits)
        return candidate, split, self._book.attempt(lease_id)

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

    def complete(self, node: str, lease_id: int, seconds: float, now: float) -> Completion:
        """Take the outcome of a lease. The first outcome of a task wins.

        An outcome under an expired lease counts like any other, as long as the task has none.

        Parameters
        ----------
        node, lease_id
            Who reports, and under which lease.
        seconds
            What the fit took, for the estimates.
        now
            Time of the report.
        """
        book = self._book
        task = book.task_for(lease_id, self._numbers.get(node))
        if task is None:
            return _NEVER_LEASED
        candidate, split = divmod(task, self._n_splits)
        attempt = book.attempt(lease_id)
        abandon: tuple[tuple[str, int], ...] = ()
        if self._ended[task]:
            verdict = Verdict.LATE
        elif book.state(lease_id) == CLOSED:
            verdict = Verdict.UNKNOWN
        else:
            others = [other for other in self._end(task) if other != lease_id]
            verdict = Verdict.FIRST
            abandon = tuple((self._names[book.node(other)], other) for other in others)
            self._learn(candidate, split, seconds)
        return Completion(
            verdict=verdict, candidate=candidate, split=split, attempt=attempt, abandon=abandon
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
            task = self._book.task(lease_id)
            self._release(lease_id, member, CLOSED)
            trouble = self._troubles.get(task)
            if trouble is not None and trouble.attempts == self._book.attempt(lease_id):
                trouble.attempts -= 1  # it was never tried
            self._wait_again(task)

    def slot_died(
        self, node: str, lease_id: int, cause: Cause, now: float
    ) -> Retry | Quarantine | None:
        """Charge a task with the death of the slot that ran it.

        Returns
        -------
        Retry, Quarantine or None
            None when the node does not hold that lease (any more). A quarantined task has ended.
        """
        member = self._nodes.get(node)
        if member is None or lease_id not in member.held:
            return None
        task, attempt = self._book.task(lease_id), self._book.attempt(lease_id)
        self._release(lease_id, member, CLOSED)
        trouble = self._trouble_of(task)
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
        held = sorted(member.held)
        for lease_id in held:
            task = self._book.task(lease_id)
            self._release(lease_id, member, EXPIRED)
            trouble = self._trouble_of(task)
            trouble.losses += not announced
            decision = self._policies.retry.after_loss(trouble.losses)
            if not isinstance(decision, GiveUp):
                trouble.suspect = decision.alone
                self._wait_again(task)
            elif task not in self._leased:
                attempt = self._book.attempt(lease_id)
                self._quarantined.append(self._quarantine(task, attempt, node, decision.reason))
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

    def _take_over(self, candidate: int, split: int, seconds: float) -> None:
        if not (0 <= candidate < self._n_candidates and 0 <= split < self._n_splits):
            raise ValueError(f"no candidate {candidate}, split {split} in round {self.round}")
        task = candidate * self._n_splits + split
        if not self._ended[task]:
            self._ended[task] = 1
            self._n_ended += 1
            self._order.withdraw(task)
            self._learn(candidate, split, seconds)

    def _learn(self, candidate: int, split: int, seconds: float) -> None:
        # The number comes from a node. In this order of arguments, NaN gives 0.0 as well.
        seconds = max(0.0, seconds)
        self._times.add(seconds)
        if split == 0:
            self._order.learn(candidate, seconds)

    def _welcome(self, name: str) -> Node:
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        self._nodes[name] = member = Node(number=number, deadline=0.0)
        return member

    def _lease_next(self, member: Node, now: float) -> Lease | None:
        task = self._next_retry(member) if self._retries else None
        if task is None:
            task = self._order.take()
        if task is not None:
            return self._lease(task, member, self._leased)
        task = self._most_overdue(member, now)
        if task is not None:
            self._trouble_of(task)
            return self._lease(task, member, self._copies)
        return None

    def _lease(self, task: int, member: Node, holders: dict[int, int]) -> Lease:
        attempt, alone = 1, False
        if self._troubles and (trouble := self._troubles.get(task)) is not None:
            trouble.attempts = attempt = trouble.attempts + 1
            alone = trouble.alone or trouble.suspect
        lease_id = self._book.issue(task, member.number, attempt)
        member.held.add(lease_id)
        holders[task] = lease_id
        candidate, split = divmod(task, self._n_splits)
        return Lease(lease_id, candidate, split, alone)

    def _next_retry(self, member: Node) -> int | None:
        others = {node.number for node in self._nodes.values()}
        holds_suspect = self._holds_suspect(member)
        for task in self._retries:
            trouble = self._troubles[task]
            avoids = member.number in trouble.died_on and not others <= trouble.died_on
            if not avoids and not (trouble.suspect and holds_suspect):
                del self._retries[task]
                return task
        return None

    def _holds_suspect(self, member: Node) -> bool:
        troubles = (self._troubles.get(self._book.task(lease)) for lease in member.held)
        return any(trouble is not None and trouble.suspect for trouble in troubles)

    def _most_overdue(self, member: Node, now: float) -> int | None:
        policy = self._policies.speculation
        if policy is None:
            return None
        worst, chosen = 0.0, None
        for node in self._nodes.values():
            if node is member:
                continue
            for lease_id, since in node.running.items():
                task = self._book.task(lease_id)
                if task in self._copies or self._is_dangerous(task):
                    continue
                expected = self._order.estimate(task)
                if expected is None:
                    expected = self._times.median()
                excess = policy.overdue(now - since, expected)
                if excess is not None and excess > worst:
                    worst, chosen = excess, task
        return chosen

    def _is_dangerous(self, task: int) -> bool:
        """Whether a task may be what takes slots and nodes down."""
        trouble = self._troubles.get(task)
        return trouble is not None and (bool(trouble.causes) or trouble.suspect)

    def _trouble_of(self, task: int) -> Trouble:
        trouble = self._troubles.get(task)
        if trouble is None:
            trouble = self._troubles[task] = Trouble()
        return trouble

    def _release(self, lease_id: int, member: Node, state: int) -> None:
        """Take a held lease from its node and from its task."""
        member.drop(lease_id)
        self._book.set_state(lease_id, state)
        task = self._book.task(lease_id)
        if self._copies.get(task) == lease_id:
            del self._copies[task]
        elif task in self._copies:
            self._leased[task] = self._copies.pop(task)
        else:
            del self._leased[task]

    def _wait_again(self, task: int) -> None:
        if task in self._leased:
            return
        if self._is_dangerous(task):
            self._retries[task] = None
        else:
            self._order.put_back(task)

    def _end(self, task: int) -> list[int]:
        """Mark a task as ended; close and return the leases that nodes still hold for it."""
        self._ended[task] = 1
        self._n_ended += 1
        leases = []
        for lease_id in (self._leased.pop(task, None), self._copies.pop(task, None)):
            if lease_id is not None:
                self._holder(lease_id).drop(lease_id)
                self._book.set_state(lease_id, CLOSED)
                leases.append(lease_id)
        if self._troubles:
            self._troubles.pop(task, None)
            self._retries.pop(task, None)
        self._order.withdraw(task)
        return leases

    def _quarantine(self, task: int, attempt: int, node: str, reason: str) -> Quarantine:
        self._end(task)
        candidate, split = divmod(task, self._n_splits)
        return Quarantine(
            candidate=candidate, split=split, attempt=attempt, node=node, reason=reason
        )

    def _holder(self, lease_id: int) -> Node:
        """The live node that holds a lease."""
        return self._nodes[self._names[self._book.node(lease_id)]]
