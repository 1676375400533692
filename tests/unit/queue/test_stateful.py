"""The work queue against a model, under random behaviour of nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from skygrid.queue.policies import (
    Cause,
    LeasePolicy,
    QueuePolicies,
    RetryPolicy,
    SpeculationPolicy,
)
from skygrid.queue.splitting import SplitPolicy
from skygrid.queue.verdicts import Completion, Quarantine, Retry, Verdict
from skygrid.queue.work_queue import WorkQueue
from skygrid.worker.wire.messages.to_agent import Lease
from tests.queue_state import hungry, task_of

NODES = ("a", "b", "c")
TIMEOUT = 15.0
ISOLATE_AFTER = 2
Task = tuple[int, int]

nodes = st.sampled_from(NODES)
picks = st.integers(min_value=0, max_value=1_000)
seconds_taken = st.sampled_from([0.1, 1.0, 1.0, 7.0, 0.0, -1.0, float("nan"), float("inf")])
causes: st.SearchStrategy[Cause] = st.sampled_from(["signal", "exit", "timeout", "memory"])


@dataclass
class ModelLease:
    """A lease, and its state in the model."""

    id: int
    node: str
    tasks: tuple[Task, ...]
    attempts: dict[Task, int]
    state: str = "held"  # held, expired, closed
    running: bool = False
    reported: set[Task] = field(default_factory=set)

    def left(self, ended: set[Task]) -> list[Task]:
        """Return the tasks that have no outcome yet."""
        return [task for task in self.tasks if task not in ended]


class WorkQueueMachine(RuleBasedStateMachine):
    """Nodes join, work, send false reports and vanish; the model holds the true state."""

    @initialize(
        n_candidates=st.integers(0, 6),
        n_splits=st.integers(1, 3),
        recorded=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=5),
        retries=st.integers(0, 3),
        speculative=st.booleans(),
        shapes=st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 1)), min_size=6, max_size=6),
        splits_early=st.booleans(),
        by_split=st.booleans(),
        first_lease_id=st.integers(0, 5),
    )
    def start(
        self,
        n_candidates: int,
        n_splits: int,
        recorded: set[Task],
        retries: int,
        speculative: bool,
        shapes: list[tuple[int, int]],
        splits_early: bool,
        by_split: bool,
        first_lease_id: int,
    ) -> None:
        self.all_tasks = {(c, s) for c in range(n_candidates) for s in range(n_splits)}
        self.ended = recorded & self.all_tasks
        self.retries = retries
        self.now = 1_000.0
        self.leases: dict[int, ModelLease] = {}
        self.last_id = first_lease_id - 1
        self.deadlines: dict[str, float] = {}
        self.asked: set[str] = set()
        self.deaths = dict.fromkeys(self.all_tasks, 0)
        self.losses = dict.fromkeys(self.all_tasks, 0)
        numbers = [group for group, _ in shapes[:n_candidates]]
        groups = [[c for c, of in enumerate(numbers) if of == number] for number in range(3)]
        self.groups = [group for group in groups if len(group) > 1]
        self.apart: set[tuple[int, int]] = set()
        self.queue = WorkQueue(
            round=0,
            n_candidates=n_candidates,
            n_splits=n_splits,
            recorded=[(*task, 1.0, 0.0) for task in sorted(self.ended)],
            groups=self.groups,
            prefixes=[prefix for _, prefix in shapes[:n_candidates]],
            by_split=by_split,
            policies=QueuePolicies(
                retry=RetryPolicy(retries=retries, isolate_after=ISOLATE_AFTER, max_node_losses=3),
                speculation=SpeculationPolicy(minimum_seconds=0.4, factor=0.1)
                if speculative
                else None,
                lease=LeasePolicy(timeout_seconds=TIMEOUT),
                split=SplitPolicy(share=1.5, minimum_seconds=-1.0)
                if splits_early
                else SplitPolicy(),
            ),
            first_lease_id=first_lease_id,
        )

    def number(self, task: Task) -> int:
        return task[0] * self.queue._state.n_splits + task[1]

    # ---- the model -----------------------------------------------------------------------------

    def held(self, *, node: str | None = None, task: Task | None = None) -> list[ModelLease]:
        return [
            lease
            for lease in self.leases.values()
            if lease.state == "held"
            and node in (None, lease.node)
            and (task is None or task in lease.left(self.ended))
        ]

    def end(self, task: Task) -> list[ModelLease]:
        """End the task, and return the leases that have no tasks left."""
        assert task not in self.ended, "a task ended twice"
        holders = self.held(task=task)
        self.ended.add(task)
        done = {id(lease): lease for lease in holders if not lease.left(self.ended)}
        for lease in done.values():
            lease.state = "closed"
        return list(done.values())

    def group_of(self, candidate: int) -> list[int]:
        return next((group for group in self.groups if candidate in group), [candidate])

    def members(self, lease: Lease) -> list[int]:
        """Return the candidates of a lease as a slot reads them."""
        if not lease.members:
            return [lease.candidate]
        group = self.group_of(lease.candidate)
        bits = int.from_bytes(lease.members, "little")
        return [member for place, member in enumerate(group) if bits >> place & 1]

    def choose(self, pick: int, leases: list[ModelLease]) -> ModelLease | None:
        return leases[pick % len(leases)] if leases else None

    def lose(self, node: str) -> None:
        """Update the model for the loss of a node."""
        del self.deadlines[node]
        self.asked.discard(node)
        for lease in self.held(node=node):
            self.expire(lease)
        for given_up in self.queue.take_quarantined():
            task = (given_up.candidate, given_up.split)
            assert self.losses[task] > 3, "quarantined for losses that it did not have"
            assert not self.held(task=task), "quarantined while a node works on it"
            self.end(task)

    def expire(self, lease: ModelLease) -> None:
        lease.state = "expired"
        for task in lease.left(self.ended):
            self.losses[task] += 1

    def check_completion(self, answer: Completion, lease: ModelLease, task: Task) -> None:
        assert (answer.candidate, answer.split) == task
        assert answer.attempt == lease.attempts[task]
        lease.reported.add(task)
        if answer.answered_by >= 0:
            assert (answer.answered_by, answer.split) in lease.reported - {task}
        if task in self.ended:
            assert answer.verdict is Verdict.LATE
        elif lease.state == "closed":
            assert answer.verdict is Verdict.UNKNOWN
        else:
            assert answer.verdict is Verdict.FIRST
            done = self.end(task)
            useless = {(o.node, o.id) for o in done if o is not lease}
            if lease in done and lease.reported != set(lease.tasks):
                useless.add((lease.node, lease.id))
            assert set(answer.abandon) == useless
            if not lease.left(self.ended):
                lease.state = "closed"
            elif lease.state == "held":
                lease.running = True
            return
        if lease.state == "held":
            lease.running = True
        assert answer.abandon == ()

    # ---- behaviour of nodes --------------------------------------------------------------------

    @rule(node=nodes, count=st.integers(-1, 5), slots=st.integers(0, 4))
    def pull(self, node: str, count: int, slots: int = 0) -> None:
        granted = self.queue.pull(node, count, self.now, slots)
        self.deadlines[node] = self.now + TIMEOUT
        assert len(granted) <= max(0, count)
        for lease in granted:
            assert lease.id > self.last_id, "lease ids must count up"
            self.last_id = lease.id
            tasks = tuple((candidate, lease.split) for candidate in self.members(lease))
            assert tasks[0][0] == lease.candidate
            for task in tasks:
                assert task not in self.ended, "leased after its end"
                others = self.held(task=task)
                assert len(others) <= 1, "a third copy"
                assert all(other.running for other in others)
                assert all(other.node != node or len(other.tasks) > 1 for other in others)
                if len(tasks) > 1:
                    assert not self.deaths[task], "a fit that took a slot down is not alone"
                    assert others or task not in self.apart, "a group that fell apart is leased"
            found = task_of(self.queue, node, lease.id)
            assert found is not None
            assert found[:2] == tasks[0]
            assert found[2] >= 1
            attempts = {
                task: self.queue._state.book.attempt(lease.id, self.number(task)) for task in tasks
            }
            assert found[2] == attempts[tasks[0]]
            self.leases[lease.id] = ModelLease(lease.id, node, tasks, attempts)
        if len(granted) < count:
            self.check_nothing_withheld()

    def check_nothing_withheld(self) -> None:
        """Only tasks that killed a slot or a node may wait while a node gets no work."""
        for task in self.all_tasks - self.ended:
            if not self.held(task=task):
                assert self.deaths[task] or self.losses[task] >= ISOLATE_AFTER

    @rule(node=nodes)
    def renew(self, node: str) -> None:
        self.queue.renew(node, self.now)
        if node in self.deadlines:
            self.deadlines[node] = self.now + TIMEOUT

    @rule(node=nodes, pick=picks, junk=st.lists(st.integers(-2, 60), max_size=2))
    def beat(self, node: str, pick: int, junk: list[int]) -> None:
        """Start some of the node's leases; the node may also name others."""
        mine = self.held(node=node)
        running = mine[: pick % (len(mine) + 1)]
        self.queue.started(node, [lease.id for lease in running] + junk, self.now)
        for lease in mine:
            if lease in running or lease.id in junk:
                lease.running = True

    @rule(slow=nodes, quick=nodes)
    def drag_on(self, slow: str, quick: str) -> None:
        """One node takes all that is left and runs it while another one asks for work."""
        self.pull(slow, 30)
        mine = self.held(node=slow)
        self.queue.started(slow, [lease.id for lease in mine], self.now)
        for lease in mine:
            lease.running = True
        self.time_passes(3.0)
        self.pull(quick, 2)

    @rule(pick=picks, seconds=seconds_taken)
    def complete(self, pick: int, seconds: float) -> None:
        """Report under any lease: first, late, repeated, expired or returned."""
        lease = self.choose(pick, list(self.leases.values()))
        if lease is not None:
            self.report(lease, lease.tasks[pick % len(lease.tasks)], seconds)

    @rule(pick=picks, seconds=seconds_taken)
    def complete_held(self, pick: int, seconds: float) -> None:
        lease = self.choose(pick, self.held())
        if lease is not None:
            self.report(lease, lease.left(self.ended)[0], seconds)

    @rule(pick=picks)
    def report_whole_group(self, pick: int) -> None:
        """Report all tasks of a lease, the first by a fit and the others answered by it."""
        lease = self.choose(pick, [lease for lease in self.held() if len(lease.tasks) > 1])
        for number, task in enumerate(lease.left(self.ended) if lease else ()):
            self.report(lease, task, 5.0, answered=number > 0)

    def report(
        self, lease: ModelLease, task: Task, seconds: float, *, answered: bool = False
    ) -> None:
        answer = self.queue.complete(
            lease.node,
            lease.id,
            seconds,
            self.now,
            candidate=task[0],
            score_seconds=seconds / 2,
            busy_seconds=seconds,
            answered=answered,
        )
        self.check_completion(answer, lease, task)

    @rule(pick=picks, candidate=st.integers(-2, 2**53))
    def lie_about_a_candidate(self, pick: int, candidate: int) -> None:
        """Report a candidate that is not in the lease."""
        lease = self.choose(pick, list(self.leases.values()))
        if lease is None or candidate in [member for member, _ in lease.tasks]:
            return
        answer = self.queue.complete(lease.node, lease.id, 1.0, self.now, candidate=candidate)
        assert answer == Completion(verdict=Verdict.UNKNOWN)
        death = self.queue.slot_died(lease.node, lease.id, "signal", self.now, candidate=candidate)
        assert death is None

    @rule(node=st.sampled_from([*NODES, "stranger"]), lease_id=st.integers(-2, 60), cause=causes)
    def lie(self, node: str, lease_id: int, cause: Cause) -> None:
        """Report a lease that the node does not have."""
        lease = self.leases.get(lease_id)
        if lease is not None and lease.node == node:
            return
        answer = self.queue.complete(node, lease_id, 1.0, self.now)
        assert answer == Completion(verdict=Verdict.UNKNOWN)
        assert task_of(self.queue, node, lease_id) is None
        assert self.queue.slot_died(node, lease_id, cause, self.now) is None
        self.queue.returned(node, [lease_id], self.now)
        self.asked.discard(node)

    @rule(node=nodes, pick=picks, junk=st.lists(st.integers(-2, 60), max_size=2))
    def give_back(self, node: str, pick: int, junk: list[int]) -> None:
        mine = [lease for lease in self.held(node=node) if not lease.running]
        some = mine[pick % (len(mine) + 1) :]
        others = [i for i in junk if i not in self.leases or self.leases[i].node != node]
        self.queue.returned(node, [lease.id for lease in some] + others, self.now)
        self.asked.discard(node)
        for lease in some:
            lease.state = "closed"

    @rule(pick=picks, cause=causes)
    def slot_dies(self, pick: int, cause: Cause) -> None:
        lease = self.choose(pick, list(self.leases.values()))
        if lease is None:
            return
        task = lease.tasks[pick % len(lease.tasks)]
        death = self.queue.slot_died(lease.node, lease.id, cause, self.now, candidate=task[0])
        if lease.state != "held":
            assert death is None
            return
        lease.state = "closed"
        if len(lease.tasks) > 1:
            self.apart |= {(member, task[1]) for member in self.group_of(task[0])}
        if task in self.ended:
            assert death is None
            return
        assert death is not None
        assert (death.candidate, death.split, death.attempt) == (*task, lease.attempts[task])
        self.deaths[task] += 1
        # A second copy may die after the last allowed attempt; other deaths stay within it.
        assert self.deaths[task] <= self.retries + 2
        if isinstance(death, Quarantine):
            assert not self.held(task=task)
            self.end(task)
        else:
            assert isinstance(death, Retry)
            within = self.deaths[task] <= self.retries
            assert within or self.held(task=task)

    @rule(node=nodes)
    def lose_node(self, node: str) -> None:
        expected = len(self.held(node=node))
        assert self.queue.node_lost(node) == expected
        if node in self.deadlines:
            self.lose(node)

    @rule(seconds=st.sampled_from([0.5, 3.0, 14.0, 15.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        silent = [name for name, _ in self.queue.expire(self.now)]
        assert set(silent) == {n for n, deadline in self.deadlines.items() if self.now >= deadline}
        given_up = self.queue.take_quarantined()
        for node in silent:
            del self.deadlines[node]
            self.asked.discard(node)
            for lease in self.held(node=node):
                self.expire(lease)
        for quarantine in given_up:
            self.end((quarantine.candidate, quarantine.split))

    @precondition(lambda self: self.deadlines)
    @rule()
    def recall(self) -> None:
        starved = {node for node, wanted in hungry(self.queue)}
        asked = self.queue.recall(self.now)
        for node, count in asked:
            unstarted = [lease for lease in self.held(node=node) if not lease.running]
            assert 0 < count <= len(unstarted)
            assert node not in self.asked, "asked twice before it answered"
            assert starved - {node}, "asked for its own sake"
        self.asked.update(node for node, _ in asked)

    # ---- a round that grows --------------------------------------------------------------------

    @rule(count=st.integers(0, 3))
    def extend(self, count: int) -> None:
        state = self.queue._state
        if state.groups is not None:
            return
        first = len(state.ended) // state.n_splits
        assert self.queue.extend(count) == first
        new = {(c, s) for c in range(first, first + count) for s in range(state.n_splits)}
        self.all_tasks |= new
        self.deaths |= dict.fromkeys(new, 0)
        self.losses |= dict.fromkeys(new, 0)

    @precondition(lambda self: self.all_tasks)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        candidate = sorted(self.all_tasks)[pick % len(self.all_tasks)][0]
        useless = set()
        for task in [one for one in self.all_tasks - self.ended if one[0] == candidate]:
            useless |= {(lease.node, lease.id) for lease in self.end(task)}
        assert set(self.queue.cancel([candidate])) == useless

    # ---- invariants ----------------------------------------------------------------------------

    @invariant()
    def counts_add_up(self) -> None:
        queue = self.queue
        assert queue.ended == len(self.ended)
        assert queue.leased == len({t for lease in self.held() for t in lease.left(self.ended)})
        assert 0 <= queue.pending_leases <= queue.pending
        assert bool(queue.pending_leases) == bool(queue.pending)
        assert sum(queue.in_hand(node) for node in NODES) == len(self.held())
        assert queue.pending + queue.leased + queue.ended == len(self.all_tasks) == queue.n_tasks
        assert queue.finished == (self.ended == self.all_tasks)
        assert queue.next_lease_id == self.last_id + 1

    @invariant()
    def open_tasks_are_known(self) -> None:
        for lease in self.leases.values():
            left = lease.left(self.ended)
            known = (*left[0], lease.attempts[left[0]]) if left else None
            assert task_of(self.queue, lease.node, lease.id) == known

    def teardown(self) -> None:
        """Finish the round with one healthy node."""
        if not hasattr(self, "queue"):
            return
        for node in list(self.deadlines):
            self.queue.node_lost(node)
            self.lose(node)
        for _ in range(len(self.all_tasks) + 1):
            for lease in self.queue.pull("fresh", 2, self.now):
                for candidate in self.members(lease):
                    answer = self.queue.complete(
                        "fresh", lease.id, 1.0, self.now, candidate=candidate
                    )
                    assert answer.verdict is Verdict.FIRST
                    self.end((candidate, lease.split))
        assert self.queue.finished
        assert self.ended == self.all_tasks


TestWorkQueueMachine = WorkQueueMachine.TestCase
TestWorkQueueMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestWorkQueueMachine.__doc__ = "Every task ends exactly once, none is lost, and the counts add up."
