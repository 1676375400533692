"""Events of a run, for displays, logs and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.util.terminal import say
from skygrid.worker.wire.messages.from_agent import Greeting, Heartbeat


class Listener(Protocol):
    """Called on the thread that owns the queue; must return quickly and must not raise."""

    def ranked_by(self, metric: str) -> None:
        """Report the score that ranks the candidates, when fits have several."""

    def node_changed(self, node: str, state: str) -> None:
        """Report a node's state: starting, connecting, preparing, receiving, working, leaving,
        gone.
        """

    def node_lost(self, node: str, reason: str) -> None:
        """Report a node that could not be had or was lost; a replacement may have the same name."""

    def node_greeted(self, node: str, greeting: Greeting) -> None:
        """Report a node's greeting: its machine and versions."""

    def node_beat(self, node: str, beat: Heartbeat) -> None:
        """Report a node's heartbeat: slots busy, memory, load."""

    def fits_running(self, node: str, fits: Sequence[tuple[int, int, float]]) -> None:
        """Report the fits that a node runs: (candidate, split, seconds so far)."""

    def round_opened(self, plan: RoundPlan, recorded: Sequence[Outcome]) -> None:
        """Report a new round; `recorded` are the outcomes that the journal already holds."""

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        """Report outcomes that are on disk now."""

    def attempt_failed(
        self, node: str, candidate: int, split: int, detail: str, *, again: bool
    ) -> None:
        """Report that a slot died under a fit, which is retried (`again`) or given up."""

    def round_closed(self, round: int) -> None:
        """Report that every task of the round has its outcome."""

    def phase(self, name: str) -> None:
        """Report the run's phase: loading, searching, refitting, scoring, saving, ending, done."""

    def message(self, text: str, *, always: bool) -> None:
        """Show a line to the user; `always`: even without details."""

    def cost_source(self, dollars: Callable[[], float | None]) -> None:
        """Report that nodes cost money; `dollars` returns the cost so far in USD, in any thread."""


class SilentListener:
    """A listener that ignores all events."""

    def ranked_by(self, metric: str) -> None: ...
    def node_changed(self, node: str, state: str) -> None: ...
    def node_lost(self, node: str, reason: str) -> None: ...
    def node_greeted(self, node: str, greeting: Greeting) -> None: ...
    def node_beat(self, node: str, beat: Heartbeat) -> None: ...
    def fits_running(self, node: str, fits: Sequence[tuple[int, int, float]]) -> None: ...
    def round_opened(self, plan: RoundPlan, recorded: Sequence[Outcome]) -> None: ...
    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None: ...
    def attempt_failed(
        self, node: str, candidate: int, split: int, detail: str, *, again: bool
    ) -> None: ...
    def round_closed(self, round: int) -> None: ...
    def phase(self, name: str) -> None: ...
    def message(self, text: str, *, always: bool) -> None: ...
    def cost_source(self, dollars: Callable[[], float | None]) -> None: ...


class NotingListener(SilentListener):
    """A listener that writes lines to stderr: for programs, which may write there too.

    Parameters
    ----------
    quiet : bool, default=False
        True: only messages that every user gets.
    verbose : bool, default=False
        True: messages and states of nodes too.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose

    def node_changed(self, node: str, state: str) -> None:
        if self._verbose:
            say(f"{node}: {state}")

    def node_lost(self, node: str, reason: str) -> None:
        if not self._quiet:
            say(f"{node} is lost: {reason}")

    def attempt_failed(
        self, node: str, candidate: int, split: int, detail: str, *, again: bool
    ) -> None:
        if self._verbose:
            say(f"{node}: a slot ended: {detail}")

    def message(self, text: str, *, always: bool) -> None:
        if always or self._verbose:
            say(text)
