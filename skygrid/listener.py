"""What happens during a run, told to whoever listens: a display, a log, a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.worker.wire.messages import Greeting, Heartbeat


class Listener(Protocol):
    """Called on the thread that owns the queue; must return quickly and must not raise."""

    def ranked_by(self, metric: str) -> None:
        """Of several scores for each fit, this one ranks the candidates."""

    def node_changed(self, node: str, state: str) -> None:
        """A node's state: starting, connecting, preparing, receiving, working, leaving, gone."""

    def node_lost(self, node: str, reason: str) -> None:
        """A node could not be had, or was lost; another of its name may come in its place."""

    def node_greeted(self, node: str, greeting: Greeting) -> None:
        """A node said what it is."""

    def node_beat(self, node: str, beat: Heartbeat) -> None:
        """A node's heartbeat: slots busy, memory, load."""

    def round_opened(self, plan: RoundPlan, recorded: Sequence[Outcome]) -> None:
        """A round starts; `recorded` are the outcomes that the journal already holds."""

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes are on disk now."""

    def attempt_failed(self, node: str, candidate: int, split: int, detail: str) -> None:
        """A slot died under a fit; the fit will be tried again or is given up."""

    def round_closed(self, round: int) -> None:
        """Every task of the round has its outcome."""

    def phase(self, name: str) -> None:
        """The run goes on to: loading, searching, refitting, scoring, saving, ending, done."""

    def told(self, text: str, *, always: bool) -> None:
        """A line for the person who waits; `always`: also for one who asked for no details."""

    def metered(self, dollars: Callable[[], float | None]) -> None:
        """The nodes cost money; `dollars` tells how much so far, in USD, from any thread."""


class SilentListener:
    """Listens to nothing."""

    def ranked_by(self, metric: str) -> None: ...
    def node_changed(self, node: str, state: str) -> None: ...
    def node_lost(self, node: str, reason: str) -> None: ...
    def node_greeted(self, node: str, greeting: Greeting) -> None: ...
    def node_beat(self, node: str, beat: Heartbeat) -> None: ...
    def round_opened(self, plan: RoundPlan, recorded: Sequence[Outcome]) -> None: ...
    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None: ...
    def attempt_failed(self, node: str, candidate: int, split: int, detail: str) -> None: ...
    def round_closed(self, round: int) -> None: ...
    def phase(self, name: str) -> None: ...
    def told(self, text: str, *, always: bool) -> None: ...
    def metered(self, dollars: Callable[[], float | None]) -> None: ...
