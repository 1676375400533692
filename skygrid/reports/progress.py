"""The model of a run's progress: a listener that makes immutable views.

The queue's thread reports events to `Progress`; the display's thread takes a `ProgressView` at
intervals. The lock is held for microseconds.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.util.terminal import printable
from skygrid.worker.wire.messages.from_agent import Greeting, Heartbeat
from skygrid.worker.wire.messages.results import Scores, TypedNumber

from .plain_values import parameters_text, round_text
from .progress_view import Event, Level, NodeView, ProgressView, RunningFit

LOGGER = logging.getLogger(__name__)

WINDOW_SECONDS = 15.0
"""Window of the rate, in seconds."""

MARKS = 60
"""Maximum number of points of the curve of fits over time within the window."""

RUNNING_SHOWN = 3
"""Maximum number of running fits in a view."""

EVENTS_KEPT = 200
"""Maximum number of unshown lines; the oldest are dropped and counted."""


@dataclass
class _Node:
    state: str = "starting"
    busy: int = 0
    slots: int = 0
    fits: int = 0
    load: float = 0.0
    slots_bytes: int = 0
    host: str = ""
    vcpus: int = 0
    running: dict[tuple[int, int], float] = field(default_factory=dict)
    """(candidate, split) of each running fit -> time of its start."""


@dataclass
class _Round:
    """State of the open round, by candidate."""

    plan: RoundPlan | None = None
    sums: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Slot time of each candidate's first outcome; -1 before it."""

    timed: int = 0
    """Number of candidates with a time."""

    timed_seconds: float = 0.0
    """Sum of their times."""

    timed_left: int = 0
    """Missing fits of these candidates."""

    timed_work: float = 0.0
    """Estimated slot time of these missing fits, in seconds."""

    best: tuple[int, float] = (0, -math.inf)
    """Recorded splits of the best candidate, and the sum of their scores."""

    best_candidate: int = -1

    def consider(self, candidate: int) -> None:
        """Compare a candidate with the best: more splits first, then the higher score."""
        if self.plan is None:
            return
        total = self.sums[candidate]
        if math.isnan(total):
            if candidate == self.best_candidate:
                self._search()
            return
        mine = len(self.plan.splits) - self.left[candidate], total
        # On equal scores the first candidate is scikit-learn's best.
        if mine > self.best or (mine == self.best and candidate < self.best_candidate):
            self.best, self.best_candidate = mine, candidate

    def _search(self) -> None:
        """Find the best again, after a split of it has failed."""
        self.best, self.best_candidate = (0, -math.inf), -1
        for candidate, total in enumerate(self.sums):
            if not math.isnan(total) and self.plan and self.left[candidate] < len(self.plan.splits):
                self.consider(candidate)


class Progress:
    """The model. Implements `skygrid.listener.Listener`.

    Parameters
    ----------
    clock : callable
        Returns monotonic seconds.
    metric : str, optional
        Scorer that ranks the candidates; default: the first, until `ranked_by` is called.
    window : float
        Window of the rate, in seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        metric: str | None = None,
        window: float = WINDOW_SECONDS,
    ) -> None:
        self._clock = clock
        self._metric = metric
        self._window = window
        # Reentrant, because a signal handler may report an event while its thread holds the lock.
        self._lock = threading.RLock()
        self._began = clock()
        self._phase = "starting"
        self._total = self._done = self._reused = self._failed = self._retries = 0
        self._answered = 0
        self._spent = 0.0
        # (time, fits done, seconds that slots spent on them)
        self._marks: deque[tuple[float, int, float]] = deque()
        self._round = _Round()
        self._best: tuple[float, Mapping[str, Any], int] | None = None
        self._nodes: dict[str, _Node] = {}
        self._events: deque[Event] = deque()
        self._dropped = 0
        self._dollars: Callable[[], float | None] | None = None

    # ---- the listener ------------------------------------------------------------------------

    def ranked_by(self, metric: str) -> None:
        """Rank candidates by this scorer."""
        with self._lock:
            self._metric = metric

    def node_changed(self, node: str, state: str) -> None:
        """Record the state of a node."""
        with self._lock:
            known = self._node(node)
            state = "finished" if state == "gone" else state
            # The progress of a transfer is a state, not a new line each time.
            if not (state.startswith("receiving ") and known.state.startswith("receiving")):
                self._say("detail", f"{node}: {state}")
            known.state = state
            if state == "finished":
                known.busy = 0
                known.running.clear()

    def node_lost(self, node: str, reason: str) -> None:
        """Record a lost node and report it as a problem."""
        with self._lock:
            known = self._node(node)
            known.state, known.busy = "lost", 0
            known.running.clear()
            self._say("problem", f"{node} is lost: {reason}")

    def node_greeted(self, node: str, greeting: Greeting) -> None:
        """Record the node's slots and host."""
        with self._lock:
            known = self._node(node)
            crowded = any(one.slots > one.vcpus for one in self._nodes.values() if one.vcpus)
            known.slots, known.host = greeting.slots, greeting.host
            known.vcpus = greeting.vcpus
            if known.slots > known.vcpus > 0 and not crowded:  # one line for all nodes
                self._say(
                    "problem",
                    f"note: {node} runs {known.slots} fits at a time on {known.vcpus} vCPUs: each "
                    "takes longer. Without --concurrency, one for each vCPU",
                )
            versions = " ".join(f"{name} {text}" for name, text in greeting.versions.items())
            self._say("detail", f"{node}: {greeting.host}, {greeting.cpu}, {versions}")

    def node_beat(self, node: str, beat: Heartbeat) -> None:
        """Record the node's load."""
        with self._lock:
            known = self._node(node)
            known.busy, known.load = beat.busy, beat.load
            known.slots_bytes = beat.slots_bytes

    def fits_running(self, node: str, fits: Sequence[tuple[int, int, float]]) -> None:
        """Record the fits that a node runs."""
        now = self._clock()
        with self._lock:
            self._node(node).running = {
                (candidate, split): now - seconds for candidate, split, seconds in fits
            }

    def round_opened(self, plan: RoundPlan, recorded: Sequence[Outcome]) -> None:
        """Start a round; `recorded` outcomes count as done but not for the rate."""
        candidates, splits = len(plan.candidates), len(plan.splits)
        with self._lock:
            self._round = _Round(
                plan=plan,
                sums=[0.0] * candidates,
                left=[splits] * candidates,
                seconds=[-1.0] * candidates,
            )
            self._total += candidates * splits
            self._done += len(recorded)
            self._reused += len(recorded)
            for outcome in recorded:
                self._add(outcome)
            self._refresh_best()
            self._marks.clear()
            self._marks.append((self._clock(), self._done, self._spent))
            held = f", {len(recorded)} of them recorded before" if recorded else ""
            self._say(
                "detail",
                f"round {plan.round}: {round_text(candidates, splits)}{held}",
            )

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        """Count the outcomes. Called for every fit; takes about a microsecond per outcome."""
        now = self._clock()
        with self._lock:
            self._done += len(outcomes)
            add, nodes = self._add, self._nodes
            for outcome in outcomes:
                add(outcome)
                node = nodes.get(outcome.node)
                if node is None:
                    node = self._node(outcome.node)
                node.fits += 1
                if node.running:
                    node.running.pop((outcome.candidate, outcome.split), None)
            self._refresh_best()
            self._mark(now)

    def attempt_failed(
        self, node: str, candidate: int, split: int, detail: str, *, again: bool
    ) -> None:
        """Count and report a fit that killed its slot, with its parameters."""
        with self._lock:
            self._retries += 1
            end = "retrying" if again else "given up"
            self._say("problem", f"{node}: {detail}: {self._fit(candidate, split)}; {end}")

    def round_closed(self, round: int) -> None:
        """Mark all slots idle."""
        with self._lock:
            for node in self._nodes.values():
                node.busy = 0
                node.running.clear()

    def phase(self, name: str) -> None:
        """Record the phase."""
        with self._lock:
            self._phase = name
            self._say("detail", name)

    def message(self, text: str, *, always: bool) -> None:
        """Record a message until it is shown."""
        with self._lock:
            self._say("problem" if always else "detail", text)

    def cost_source(self, dollars: Callable[[], float | None]) -> None:
        """Record the function that returns the cost so far."""
        with self._lock:
            self._dollars = dollars

    # ---- the views ---------------------------------------------------------------------------

    def view(self) -> ProgressView:
        """Return the present state."""
        now = self._clock()
        source = self._dollars
        dollars = source() if source is not None else None
        with self._lock:
            rate = self._rate(now)
            return ProgressView(
                phase=self._phase,
                elapsed=now - self._began,
                round=self._round.plan.round if self._round.plan is not None else -1,
                done=self._done,
                total=self._total,
                reused=self._reused,
                failed=self._failed,
                retries=self._retries,
                answered=self._answered,
                rate=rate,
                seconds_left=self._seconds_left(rate),
                best_score=self._best[0] if self._best else None,
                best_params=self._best[1] if self._best else None,
                best_splits=self._best[2] if self._best else 0,
                splits=len(self._round.plan.splits) if self._round.plan else 0,
                running=self._running(now),
                shows_cost=source is not None,
                dollars=dollars,
                nodes=tuple(
                    NodeView(
                        name=name,
                        state=node.state,
                        busy=node.busy,
                        slots=node.slots,
                        fits=node.fits,
                        load=node.load,
                        slots_bytes=node.slots_bytes,
                        host=node.host,
                    )
                    for name, node in self._nodes.items()
                ),
            )

    def take_events(self) -> list[Event]:
        """Return and remove the lines that were not shown yet."""
        with self._lock:
            events = list(self._events)
            self._events.clear()
            if self._dropped:
                events.insert(0, Event(level="problem", text=f"({self._dropped} earlier lines)"))
                self._dropped = 0
            return events

    # ---- inside; the lock is held ------------------------------------------------------------

    def _node(self, name: str) -> _Node:
        return self._nodes.setdefault(name, _Node())

    def _fit(self, candidate: int, split: int) -> str:
        """Return parameters and split of a fit of the open round."""
        plan = self._round.plan
        if plan is None or candidate >= len(plan.candidates):  # a call has no parameters
            return f"candidate {candidate}, split {split + 1}"
        params = parameters_text(plan.candidates[candidate]) or "the default"
        return f"{params}, split {split + 1} of {len(plan.splits)}"

    def _say(self, level: Level, text: str) -> None:
        if len(self._events) >= EVENTS_KEPT:
            self._events.popleft()
            self._dropped += 1
        event = Event(level=level, text=printable(text))
        self._events.append(event)
        LOGGER.info("%s", event.text)

    def _add(self, outcome: Outcome) -> None:
        current = self._round
        if outcome.status == "scored":
            score = outcome.test_scores
            value = score if type(score) is float else _number(score, self._metric)
        else:
            self._failed += 1
            value = math.nan
        if current.plan is None or outcome.round != current.plan.round:
            return
        candidate = outcome.candidate
        left = current.left[candidate] - 1
        current.left[candidate] = left
        seconds = outcome.busy_seconds
        if outcome.answered_by >= 0:
            self._answered += 1
        self._spent += seconds
        known = current.seconds[candidate]
        if known < 0:
            current.seconds[candidate] = seconds
            current.timed += 1
            current.timed_seconds += seconds
            current.timed_left += left
            current.timed_work += seconds * left
        else:
            current.timed_left -= 1
            current.timed_work -= known
        current.sums[candidate] += value
        current.consider(candidate)

    def _refresh_best(self) -> None:
        current = self._round
        if current.plan is not None and current.best_candidate >= 0:
            splits, total = current.best
            self._best = total / splits, current.plan.candidates[current.best_candidate], splits

    def _running(self, now: float) -> tuple[RunningFit, ...]:
        plan = self._round.plan
        if plan is None:
            return ()
        fits = sorted(
            (since, candidate, split)
            for node in self._nodes.values()
            for (candidate, split), since in node.running.items()
            if candidate < len(plan.candidates)
        )
        return tuple(
            RunningFit(
                params=plan.candidates[candidate],
                split=split,
                splits=len(plan.splits),
                seconds=now - since,
            )
            for since, candidate, split in fits[:RUNNING_SHOWN]
        )

    def _mark(self, now: float) -> None:
        marks = self._marks
        # Outcomes may come by the thousand per second; the curve needs few points.
        if len(marks) > 1 and now - marks[-2][0] < self._window / MARKS:
            marks[-1] = (now, self._done, self._spent)
        else:
            marks.append((now, self._done, self._spent))
        while len(marks) > 2 and now - marks[1][0] > self._window:
            marks.popleft()

    def _rate(self, now: float) -> float | None:
        if len(self._marks) < 2:
            return None
        (first, before, _), (last, after, _) = self._marks[0], self._marks[-1]
        # With long fits: if the next outcome is overdue, the rate falls while waiting.
        usual = (last - first) / max(1, after - before)
        seconds = (now if now - last > 2 * usual else last) - first
        return (after - before) / seconds if seconds > 0 else None

    def _seconds_left(self, rate: float | None) -> float | None:
        left = self._total - self._done
        if not left:
            return 0.0
        if not rate:
            return None
        current = self._round
        (_, before, early), (_, after, late) = self._marks[0], self._marks[-1]
        if late <= early or not current.timed:
            return left / rate
        untimed = left - current.timed_left
        work = current.timed_work + untimed * current.timed_seconds / current.timed
        # Derive the time from the rate, because that includes an overdue wait.
        seconds = (after - before) / rate
        return max(0.0, work) * seconds / (late - early)


def _number(score: Scores | None, metric: str | None) -> float:
    """Return one number of a score that is not a plain float; NaN if there is none."""
    if isinstance(score, dict):
        name = metric if metric in score else next(iter(score), None)
        score = score[name] if name is not None else None
    if isinstance(score, float):
        return score
    if not isinstance(score, TypedNumber):
        return math.nan
    if score.kind == "<f8":  # the usual return type of scikit-learn's scorers
        return float(struct.unpack("<d", bytes.fromhex(score.text))[0])
    from skygrid.worker.wire.scores import from_wire

    try:
        return float(from_wire(score))
    except (TypeError, ValueError):  # a user's scorer may return other things than numbers
        return math.nan
