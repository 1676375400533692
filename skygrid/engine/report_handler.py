"""Messages of nodes about leases: requests, outcomes, returned leases, dead slots."""

from __future__ import annotations

import time

from skygrid.engine.calls import CallRound
from skygrid.engine.link import Link
from skygrid.engine.node_events import Gone, LinkFailure
from skygrid.engine.result_check import fault_of, safe
from skygrid.engine.roster import Roster
from skygrid.engine.round import Round, RoundInProgress
from skygrid.listener import Listener
from skygrid.queue.verdicts import Quarantine, Verdict
from skygrid.util.terminal import printable
from skygrid.worker.wire.messages.calls import CallReport, ResultPart
from skygrid.worker.wire.messages.fields import MOST_IN_HAND
from skygrid.worker.wire.messages.from_agent import Pull, Returned, SlotDied
from skygrid.worker.wire.messages.results import FitResult, Report
from skygrid.worker.wire.messages.to_agent import Abandon

MOST_DETAIL = 500
"""Maximum length of a node's text about a slot's death, in characters."""

OfLeases = Report | CallReport | ResultPart | Pull | Returned | SlotDied


class FitRaised(Exception):
    """A fit raised an exception that scikit-learn would have raised from ``search.fit``."""

    def __init__(self, candidate: int, split: int, result: FitResult) -> None:
        super().__init__(candidate, split)
        self.candidate, self.split, self.result = candidate, split, result


class ReportHandler:
    """Passes messages about leases to the queue, and outcomes to the round."""

    def __init__(self, roster: Roster, listener: Listener) -> None:
        self._roster = roster
        self._listener = listener
        self.slot_deaths = 0
        """Number of slots that died during a fit."""

    def take(self, link: Link, message: OfLeases, work: Round, now: float) -> None:
        """Process one message about leases of the round.

        Raises
        ------
        LinkFailure
            If the message cannot be true.
        FitRaised
            If a fit raised and the search is to raise it.
        """
        match message:
            case Report() if isinstance(work, RoundInProgress):
                self._take_report(link, message, work, now)
            case CallReport() | ResultPart() if isinstance(work, CallRound):
                if work.take(link, message, now):
                    self._roster.reported(link)
            case Report() | CallReport() | ResultPart():
                raise LinkFailure(Gone("it sent results of another kind of round", at_fault=True))
            case Pull():
                link.wanted = min(message.count, MOST_IN_HAND)
            case Returned():
                work.queue.returned(link.name, message.leases, now)
            case SlotDied():
                self._take_death(link, message, work, now)

    def _take_report(self, link: Link, report: Report, work: RoundInProgress, now: float) -> None:
        finished_at = time.time()
        for result in report.results:
            fault = fault_of(result, work.plan.scores, finished_at - work.began_at)
            if fault is not None:
                raise LinkFailure(Gone(f"it sent {fault}", at_fault=True))
            done = work.queue.complete(
                link.name,
                result.lease,
                result.fit_seconds + result.score_seconds,
                now,
                candidate=result.candidate,
                score_seconds=result.score_seconds,
                busy_seconds=result.busy_seconds,
                answered=result.answered,
            )
            for name, lease in done.abandon:
                self._roster.links[name].send(Abandon(leases=[lease]))
            if done.verdict is Verdict.UNKNOWN and done.candidate < 0:
                lie = Gone("it reported a fit that it was never given", at_fault=True)
                raise LinkFailure(lie, cure="machine")
            if done.verdict is not Verdict.FIRST:
                link.node_log.write(f"{done.verdict.value} result dropped\n".encode())
                continue
            # Only now: false or repeated reports must not count as work.
            self._roster.reported(link)
            if result.status == "raised":
                raise FitRaised(done.candidate, done.split, safe(result))
            work.take(link.name, safe(result), done, finished_at)

    def _take_death(self, link: Link, death: SlotDied, work: Round, now: float) -> None:
        answer = work.queue.slot_died(
            link.name, death.lease, death.cause, now, candidate=work.candidate_of(death)
        )
        if answer is None:
            return
        work.retried(answer.candidate, death)
        self.slot_deaths += 1
        said = printable(death.detail, MOST_DETAIL)
        cause = "" if death.cause == "timeout" else f"{death.cause}: "  # its text says so
        detail = f"{cause}{said}, peak memory {death.peak_bytes / 2**20:.0f} MiB"
        link.node_log.write(
            f"slot {death.slot} ended under candidate {answer.candidate}, split {answer.split}, "
            f"attempt {answer.attempt}: {detail}\n".encode()
        )
        given_up = isinstance(answer, Quarantine)
        self._listener.attempt_failed(
            link.name, answer.candidate, answer.split, detail, again=not given_up
        )
        if isinstance(answer, Quarantine):
            reason = f"{answer.reason}; last: {detail}"
            work.give_up(answer, reason, slot=death.slot, seconds=death.seconds)
