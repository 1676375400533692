"""What nodes say of their leases: asked for, ended, given back, lost with a slot."""

from __future__ import annotations

import time

from skygrid.engine.link import Gone, Link, LinkFailure
from skygrid.engine.roster import Roster
from skygrid.engine.round import RoundInProgress, is_honest
from skygrid.listener import Listener
from skygrid.queue.verdicts import Quarantine, Verdict
from skygrid.util.terminal_text import printable
from skygrid.worker.wire.messages import Abandon, FitResult, Pull, Report, Returned, SlotDied

MOST_IN_HAND = 100_000
"""Leases that a node may ask for at a time, whatever it says."""

MOST_DETAIL = 500
"""Characters of what a node says of a slot's death."""

OfLeases = Report | Pull | Returned | SlotDied


class FitRaised(Exception):
    """A fit raised what scikit-learn would have raised out of ``search.fit``."""

    def __init__(self, candidate: int, split: int, result: FitResult) -> None:
        super().__init__(candidate, split)
        self.candidate, self.split, self.result = candidate, split, result


class Intake:
    """Takes what nodes say of their leases to the queue, and outcomes to the round.

    Parameters
    ----------
    roster : Roster
    listener : Listener
    """

    def __init__(self, roster: Roster, listener: Listener) -> None:
        self._roster = roster
        self._listener = listener
        self.slot_deaths = 0
        """How often a fit took its slot down."""

    def take(self, link: Link, message: OfLeases, work: RoundInProgress, now: float) -> None:
        """Take in one message about leases of the round.

        Raises
        ------
        LinkFailure
            If it cannot be true.
        FitRaised
            If a fit raised and the search is to raise it.
        """
        match message:
            case Report():
                self._take_report(link, message, work, now)
            case Pull():
                link.wanted = min(message.count, MOST_IN_HAND)
            case Returned():
                work.queue.returned(link.name, message.leases, now)
            case SlotDied():
                self._take_death(link, message, work, now)

    def _take_report(self, link: Link, report: Report, work: RoundInProgress, now: float) -> None:
        self._roster.reported(link)
        finished_at = time.time()
        for result in report.results:
            if not is_honest(result):
                raise LinkFailure(Gone("it sent scores that are none"))
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
                lie = Gone("it reported a fit that it was never given")
                raise LinkFailure(lie, cure="machine")
            if done.verdict is not Verdict.FIRST:
                link.node_log.write(f"{done.verdict.value} result dropped\n".encode())
                continue
            if result.status == "raised":
                raise FitRaised(done.candidate, done.split, result)
            work.take(link.name, result, done, finished_at)

    def _take_death(self, link: Link, death: SlotDied, work: RoundInProgress, now: float) -> None:
        answer = work.queue.slot_died(
            link.name, death.lease, death.cause, now, candidate=death.candidate
        )
        if answer is None:
            return
        self.slot_deaths += 1
        said = printable(death.detail, MOST_DETAIL)
        detail = f"{death.cause}: {said}, {death.peak_bytes / 2**20:.0f} MiB at its peak"
        link.node_log.write(
            f"slot {death.slot} ended under candidate {answer.candidate}, split {answer.split}, "
            f"attempt {answer.attempt}: {detail}\n".encode()
        )
        self._listener.attempt_failed(link.name, answer.candidate, answer.split, detail)
        if isinstance(answer, Quarantine):
            reason = f"{answer.reason}; the last time: {detail}"
            work.give_up(answer, reason, slot=death.slot, seconds=death.seconds)
