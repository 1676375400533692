"""Rounds of a run: recorded outcomes come from the journal, the others from nodes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import sklearn

from skygrid.engine.engine import PullEngine
from skygrid.engine.report_handler import FitRaised
from skygrid.engine.round import RoundBlobs
from skygrid.journal.interface import Journal
from skygrid.listener import Listener
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.plan.spec import UserCode
from skygrid.queue.policies import QueuePolicies
from skygrid.queue.work_queue import WorkQueue
from skygrid.search_file.portable import obstacles_named
from skygrid.sklearn_search.exceptions import raise_again
from skygrid.sklearn_search.sharing import sharing_of
from skygrid.sklearn_search.warnings import WarningCounter
from skygrid.user_code.pickled_values import packed_values
from skygrid.user_code.sendable_values import MOST_BYTES, values_to_send
from skygrid.user_code.sources import files_in_place, files_to_send
from skygrid.worker.evaluation.contents import JointData, RoundTasks, SearchData, SearchWork
from skygrid.worker.evaluation.joblib_backend import context_of_fits
from skygrid.worker.user_code import process_state
from skygrid.worker.user_code.pickling import NodePickler
from skygrid.worker.user_code.references import node_pickler
from skygrid.worker.user_code.warning_rules import rules_now
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.messages.from_agent import Greeting

LOGGER = logging.getLogger(__name__)


class JournaledRounds:
    """The `RoundEvaluator` of a run.

    Parameters
    ----------
    engine : PullEngine
    journal : Journal
    policies : QueuePolicies
    listener : Listener
    on_round : callable
        Called with each round's plan before it runs.
    code : UserCode, optional
        The user's modules.
    on_searched : callable
        Called after the last round, before the refit.
    sharing : bool, default=True
        True: candidates that one fit answers are fitted once.
    """

    def __init__(
        self,
        engine: PullEngine,
        journal: Journal,
        policies: QueuePolicies,
        listener: Listener,
        on_round: Callable[[RoundPlan], None] = lambda plan: None,
        code: UserCode | None = None,
        on_searched: Callable[[], None] = lambda: None,
        *,
        sharing: bool = True,
    ) -> None:
        self.warnings = WarningCounter()
        self.outcomes: list[Outcome] = []
        """All outcomes so far, including those of earlier sessions."""

        self.fresh: list[Outcome] = []
        """Outcomes that this session recorded."""

        self.reused = 0
        """Outcomes that the journal held when their round opened."""

        self.plans: list[RoundPlan] = []
        """Rounds so far, as settled."""

        self.results: Mapping[str, Any] | None = None
        """``cv_results_`` once a refit has begun."""

        self._on_round = on_round
        self._on_searched = on_searched
        self._code = code or UserCode()
        self._engine = engine
        self._journal = journal
        self._policies = policies
        self._listener = listener
        self._next_lease = 1
        self._shares = sharing
        self._begun: tuple[SearchData, SearchWork] | None = None
        self._blobs: WorkBlobs | None = None
        """Set by `begin`."""

    def begin(self, data: SearchData, work: SearchWork) -> None:
        """Pack data and search into blobs."""
        self._begun = data, work
        with obstacles_named(
            estimator=work.estimator,
            scoring=work.scorer,
            X=data.X,
            y=data.y,
            fit_params=data.fit_params,
            score_params=data.score_params,
        ):
            here = self._engine.shares_modules
            self._blobs = work_blobs(data, work, self._code, shares_modules=here)
        for name in self._blobs.too_large:
            self._listener.message(too_large_note(name), always=True)

    def refitting(self, results: Mapping[str, Any], *, last: bool) -> None:
        """Report that a refit begins; call `on_searched` if no round follows it."""
        self.results = results
        if last:
            self._on_searched()
        self._listener.phase("refitting")

    def known_nodes(self) -> dict[str, Greeting]:
        """Return the greetings of the run's nodes, including those of earlier sessions."""
        return {
            name: msgspec.json.decode(facts, type=Greeting)
            for name, facts in self._journal.nodes().items()
        }

    def evaluate(self, plan: RoundPlan) -> tuple[RoundPlan, Sequence[Outcome]]:
        """Return the settled plan and the outcome of each task, from the journal or a node."""
        with obstacles_named(candidates=plan.candidates, splits=plan.splits):
            plan = replace(self._journal.settle(plan), scores=plan.scores)
        if self._shares and self._begun is not None:
            data, work = self._begun
            plan = replace(plan, sharing=sharing_of(work, data.X, plan))
        LOGGER.debug("round %d: %d groups of shared fits", plan.round, len(plan.sharing.groups))
        recorded = self._journal.outcomes(plan.round)
        self.reused += len(recorded)
        self.plans.append(plan)
        self._on_round(plan)
        self._listener.round_opened(plan, recorded)
        n_splits = len(plan.splits)
        outcomes: list[Any] = [None] * plan.n_tasks

        def keep(batch: Sequence[Outcome]) -> None:
            self.outcomes.extend(batch)
            for outcome in batch:
                outcomes[outcome.candidate * n_splits + outcome.split] = outcome

        def record(batch: Sequence[Outcome]) -> None:
            self._journal.append(batch)
            self.fresh.extend(batch)
            keep(batch)

        keep(recorded)
        first = plan.n_tasks
        try:
            raised = self._run(plan, outcomes, record)
            if raised is not None:
                first = raised.candidate * n_splits + raised.split
                self.warnings.add([raised.result])
                raise_again(raised.result, f"candidate {raised.candidate}, split {raised.split}")
        finally:
            # scikit-learn stops at the first fit that raises: drop the warnings of later fits.
            self.warnings.add(outcome for outcome in outcomes[:first] if outcome is not None)
            self._keep_nodes()
        self._listener.round_closed(plan.round)
        return plan, outcomes

    def _run(
        self,
        plan: RoundPlan,
        outcomes: Sequence[Outcome | None],
        record: Callable[[Sequence[Outcome]], None],
    ) -> FitRaised | None:
        """Run tasks without an outcome; return the first that raises, in scikit-learn's order.

        Fits run in another order here: when one raises, those before it in scikit-learn's order
        still run, because one of them may raise another error.
        """
        raised = None
        wanted = plan.n_tasks
        blobs = None
        while True:
            queue = self._queue(plan, outcomes, wanted)
            try:
                if not queue.finished:
                    blobs = blobs or self._round_blobs(plan)
                    self._engine.run_round(plan, blobs, queue, record)
                return raised
            except FitRaised as error:
                # Its traceback refers to this frame: the cycle would keep X until the next garbage
                # collection.
                raised = error.with_traceback(None)
                wanted = error.candidate * len(plan.splits) + error.split
            finally:
                self._next_lease = queue.next_lease_id

    def _round_blobs(self, plan: RoundPlan) -> RoundBlobs:
        assert self._blobs is not None, "a search begins before its first round"
        made = self._blobs
        with obstacles_named(candidates=plan.candidates, splits=plan.splits):
            tasks = RoundTasks(candidates=plan.candidates, splits=plan.splits, sharing=plan.sharing)
            content = Blob(tasks, made.pickler)
        return RoundBlobs(
            data=made.data, search=made.search, plan=content, environment=made.environment
        )

    def _queue(self, plan: RoundPlan, outcomes: Sequence[Outcome | None], wanted: int) -> WorkQueue:
        """Return a queue of the tasks before number `wanted` that have no outcome."""
        n_splits = len(plan.splits)
        done = [
            (*divmod(task, n_splits), *_seconds(outcome))
            for task, outcome in enumerate(outcomes)
            if outcome is not None or task >= wanted
        ]
        return WorkQueue(
            round=plan.round,
            n_candidates=len(plan.candidates),
            n_splits=n_splits,
            recorded=done,
            groups=[group.members for group in plan.sharing.groups],
            prefixes=plan.sharing.prefixes,
            by_split=plan.sharing.samples,
            policies=self._policies,
            first_lease_id=self._next_lease,
        )

    def _keep_nodes(self) -> None:
        for name, greeting in self._engine.greetings.items():
            self._journal.record_node(name, msgspec.json.encode(greeting))


def _seconds(outcome: Outcome | None) -> tuple[float, float]:
    return (outcome.fit_seconds, outcome.score_seconds) if outcome else (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class WorkBlobs:
    """The blobs that every fit of a search needs."""

    data: Blob
    search: Blob
    pickler: Callable[..., NodePickler]
    """Makes picklers for further blobs of the search."""

    environment: Mapping[str, str | None]
    """As in `RoundBlobs`."""

    too_large: tuple[str, ...] = ()
    """Globals of the user's modules that are too large to send."""


def too_large_note(name: str) -> str:
    """Return the message for a global of a user's module that is not sent."""
    return (
        f"{name} is not sent to the nodes, because the globals of your modules have more than "
        f"{MOST_BYTES >> 20} MiB: fits see the value that importing the module gives"
    )


def work_blobs(
    data: SearchData | JointData, work: SearchWork, code: UserCode, *, shares_modules: bool
) -> WorkBlobs:
    """Return the blobs that every fit of a search needs.

    Parameters
    ----------
    data : SearchData or JointData
    work : SearchWork
    code : UserCode
        The user's modules.
    shares_modules : bool
        True if nodes find modules where this process does.
    """
    # The data of joint rounds are samples that the driver has selected: no module has them.
    parts = {}
    if isinstance(data, SearchData):
        parts = {"X": data.X, "y": data.y, **data.fit_params}
    values = values_to_send(code, parts, shares_modules=shares_modules)
    pickler = functools.partial(node_pickler, references=values.references)
    process = process_state.changes(
        process_state.START, process_state.taken(), shares_modules=shares_modules
    )
    packed, too_large = packed_values(values, work)
    content = replace(
        work,
        process=process,
        modules=files_in_place(code) if shares_modules else files_to_send(code),
        values=packed,
        sklearn_config=sklearn.get_config(),
        joblib=context_of_fits(work.n_jobs),
        warning_rules=rules_now(),
    )
    return WorkBlobs(
        data=Blob(data, pickler),
        search=Blob(content, pickler),
        pickler=pickler,
        environment=process_state.read_at_import(process.environment),
        too_large=too_large,
    )
