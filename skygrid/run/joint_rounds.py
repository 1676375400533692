"""Rounds of searches in several threads, run as one round in the thread that owns the nodes.

The threads are the outer folds of a nested cross-validation. Each fits its search with rounds of
`FoldRounds`, which only ask for their outcomes. When every thread has asked, is refitting or has
ended, the owner runs all of these rounds as one: one queue, one set of blobs.
"""

from __future__ import annotations

import pickle
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cloudpickle

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.engine.report_handler import FitRaised
from skygrid.engine.round import RoundBlobs
from skygrid.journal.in_memory import MemoryJournal
from skygrid.listener import SilentListener
from skygrid.plan.joint import JointRound, join
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.plan.spec import UserCode
from skygrid.queue.work_queue import WorkQueue
from skygrid.run.rounds import JournaledRounds, work_blobs
from skygrid.run.setup import policies_of
from skygrid.search_file.portable import obstacles_named
from skygrid.worker.evaluation.contents import JointData, RoundTasks, SearchData, SearchWork
from skygrid.worker.wire.blobs import Blob

MOST_TASKS = 1_000_000
"""Tasks of a joint round, those that belong to no search included: a queue keeps a few bytes for
each. More of them are divided into several rounds."""


class FoldStopped(BaseException):
    """The nested cross-validation has ended; the owner raises the reason.

    No `Exception`: scikit-learn would take it for the failure of one fold.
    """


@dataclass(eq=False, kw_only=True)
class RoundRequest:
    """A round that a thread waits for."""

    plan: RoundPlan
    data: SearchData
    work: SearchWork
    outcomes: Sequence[Outcome | None]
    """Outcome of each task so far, candidates first; filled by `record`."""

    record: Callable[[Sequence[Outcome]], None]
    raised: FitRaised | None = None
    """First fit that raised, in scikit-learn's order."""

    done: bool = False

    @property
    def wanted(self) -> int:
        """Number of tasks whose outcomes decide the search's answer."""
        if self.raised is None:
            return self.plan.n_tasks
        return self.raised.candidate * len(self.plan.splits) + self.raised.split

    def needs(self, candidate: int, split: int) -> bool:
        """Return whether a task is still to be run."""
        task = candidate * len(self.plan.splits) + split
        return task < self.wanted and self.outcomes[task] is None


class JointRounds:
    """Collects the rounds of several threads and runs them together.

    Parameters
    ----------
    engine : PullEngine
    config : RunConfig
    code : UserCode
        The user's modules.
    """

    def __init__(self, engine: PullEngine, config: RunConfig, code: UserCode) -> None:
        self._engine, self._config, self._code = engine, config, code
        self._changed = threading.Condition()
        self._busy: set[object] = set()
        """Marks of the threads that may ask for a round soon."""

        self._mine = threading.local()
        """`mark`: that of the thread."""

        self._requests: list[RoundRequest] = []
        self._stopped = False
        self._next_lease = 1
        self.rounds = 0
        """Number of joint rounds so far."""

    # -- the threads of the folds

    def expect(self, mark: object) -> None:
        """Note that a thread with this mark will start."""
        with self._changed:
            self._busy.add(mark)

    @contextmanager
    def working(self, mark: object) -> Iterator[None]:
        """Have this mark in the thread; the block may ask for rounds."""
        self._mine.mark = mark
        try:
            yield
        finally:
            self.idle()

    def idle(self) -> None:
        """Note that this thread asks for no round soon."""
        with self._changed:
            self._busy.discard(self._mine.mark)
            self._changed.notify_all()

    def wait_for(self, request: RoundRequest) -> None:
        """Return when the outcomes of a round are recorded.

        Raises
        ------
        FoldStopped
            If the owner has stopped.
        """
        with self._changed:
            self._busy.add(self._mine.mark)
            self._requests.append(request)
            self._changed.notify_all()
            self._changed.wait_for(lambda: request.done or self._stopped)
        if not request.done:
            raise FoldStopped

    # -- the owner of the nodes

    def serve(self, over: Callable[[], bool]) -> None:
        """Run the rounds of all threads until `over` returns True; see `look`.

        Raises
        ------
        SkygridError
            If nodes cannot be had or are lost for good, or objects cannot be pickled.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: over() or self._complete)
                if over():
                    return
                asked, self._requests = self._requests, []
            for together in _compatible(asked):
                self._run(together)
            with self._changed:
                for request in asked:
                    request.done = True
                self._changed.notify_all()

    @property
    def _complete(self) -> bool:
        """True if every thread that may ask has asked."""
        return bool(self._requests) and len(self._requests) >= len(self._busy)

    def look(self) -> None:
        """Have `serve` look again whether it is over."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """End every thread that waits for a round, or asks for one from now on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._engine.wake()

    def _run(self, asked: Sequence[RoundRequest]) -> None:
        """Run the rounds of several searches as one.

        A fit that raises ends its own search only. As in a search alone, the fits before it still
        run, because one of them may raise another error.
        """
        joint = join([one.plan for one in asked], [_content(one.plan.candidates) for one in asked])
        if joint.plan.n_tasks > MOST_TASKS and len(asked) > 1:
            half = len(asked) // 2
            self._run(asked[:half])
            self._run(asked[half:])
            return
        blobs = None

        def record(batch: Sequence[Outcome]) -> None:
            for number, outcomes in _by_owner(joint, batch).items():
                asked[number].record(outcomes)

        while not (queue := self._queue(joint, asked)).finished and not self._stopped:
            blobs = blobs or self._blobs(joint, asked)
            self.rounds += 1
            try:
                self._engine.run_round(joint.plan, blobs, queue, record)
            except FitRaised as error:
                number = joint.owner(error.split)
                member = joint.members[number]
                asked[number].raised = FitRaised(
                    error.candidate - member.first_candidate,
                    error.split - member.first_split,
                    error.result,
                )
            finally:
                self._next_lease = queue.next_lease_id

    def _queue(self, joint: JointRound, asked: Sequence[RoundRequest]) -> WorkQueue:
        plan = joint.plan
        over = [(candidate, split, 0.0, 0.0) for candidate, split in joint.foreign_tasks()]
        for member, request in zip(joint.members, asked, strict=True):
            n_splits = len(request.plan.splits)
            for task, outcome in enumerate(request.outcomes):
                candidate, split = divmod(task, n_splits)
                if request.needs(candidate, split):
                    continue
                fit = outcome.fit_seconds if outcome else 0.0
                score = outcome.score_seconds if outcome else 0.0
                joint_task = member.first_candidate + candidate, member.first_split + split
                over.append((*joint_task, fit, score))
        return _StoppableQueue(
            lambda: self._stopped,
            round=0,
            n_candidates=len(plan.candidates),
            n_splits=len(plan.splits),
            recorded=over,
            groups=[group.members for group in plan.sharing.groups],
            prefixes=plan.sharing.prefixes,
            policies=policies_of(self._config),
            first_lease_id=self._next_lease,
        )

    def _blobs(self, joint: JointRound, asked: Sequence[RoundRequest]) -> RoundBlobs:
        data = JointData(parts=tuple(one.data for one in asked))
        work, plan = asked[0].work, joint.plan
        with obstacles_named(
            estimator=work.estimator,
            scoring=work.scorer,
            X=[part.X for part in data.parts],
            y=[part.y for part in data.parts],
            fit_params=[part.fit_params for part in data.parts],
            candidates=plan.candidates,
            splits=plan.splits,
        ):
            here = self._engine.shares_modules
            made = work_blobs(data, work, self._code, shares_modules=here)
            tasks = RoundTasks(
                candidates=plan.candidates,
                splits=plan.splits,
                sharing=plan.sharing,
                parts=plan.parts,
            )
            content = Blob(tasks, made.pickler)
        return RoundBlobs(
            data=made.data, search=made.search, plan=content, environment=made.environment
        )


class _StoppableQueue(WorkQueue):
    """A queue that is finished early once its outcomes are not needed."""

    def __init__(self, stopped: Callable[[], bool], **options: Any) -> None:
        super().__init__(**options)
        self._stopped = stopped

    @property
    def finished(self) -> bool:
        return self._stopped() or super().finished


def _compatible(asked: Sequence[RoundRequest]) -> list[list[RoundRequest]]:
    """Divide requests into those that one round can run, in their order.

    Their fits differ in data, candidates and splits only. A search with large data has a round of
    its own, in which the slots of a node share its samples.
    """
    together: dict[Hashable, list[RoundRequest]] = defaultdict(list)
    for number, request in enumerate(asked):
        alone = number if request.plan.sharing.samples else -1
        together[alone, request.plan.scores, _content(request.work)].append(request)
    return list(together.values())


def _content(value: Any) -> Hashable:
    """Return the pickle of a value: equal pickles are equal values."""
    try:
        return bytes(cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001 (the blobs of the round name the obstacle)
        return id(value)


def _by_owner(joint: JointRound, batch: Sequence[Outcome]) -> Mapping[int, list[Outcome]]:
    found: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in batch:
        number = joint.owner(outcome.split)
        found[number].append(joint.members[number].own(outcome))
    return found


class FoldRounds(JournaledRounds):
    """Rounds of the search in one fold, which run together with those of other folds.

    Parameters
    ----------
    engine : PullEngine
    config : RunConfig
    joint : JointRounds
    """

    def __init__(self, engine: PullEngine, config: RunConfig, joint: JointRounds) -> None:
        super().__init__(
            engine,
            MemoryJournal(),
            policies_of(config),
            SilentListener(),
            sharing=not config.no_sharing,
        )
        self._joint = joint

    def begin(self, data: SearchData, work: SearchWork) -> None:
        """Keep data and work; the joint round packs them."""
        self._begun = data, work

    def refitting(self, results: Mapping[str, Any], *, last: bool) -> None:
        super().refitting(results, last=last)
        if last:
            self._joint.idle()

    def _run(
        self,
        plan: RoundPlan,
        outcomes: Sequence[Outcome | None],
        record: Callable[[Sequence[Outcome]], None],
    ) -> FitRaised | None:
        assert self._begun is not None, "a search begins before its first round"
        data, work = self._begun
        request = RoundRequest(plan=plan, data=data, work=work, outcomes=outcomes, record=record)
        self._joint.wait_for(request)
        return request.raised
