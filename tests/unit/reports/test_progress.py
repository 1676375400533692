"""The progress model and its display."""

from __future__ import annotations

import io
import re
import threading
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.reports.live import show_progress, wrapped_lines
from skygrid.reports.progress import EVENTS_KEPT, Progress
from skygrid.reports.terminal.progress_screen import (
    left_text,
    progress_line,
    progress_screen,
    rate_text,
    seconds_text,
)
from skygrid.worker.wire.messages.from_agent import Greeting, Heartbeat
from skygrid.worker.wire.scores import to_wire


class Clock:
    """Clock that moves only when a test sets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def plan(candidates: int = 4, splits: int = 2, number: int = 0) -> RoundPlan:
    return RoundPlan(
        round=number,
        candidates=[{"C": index} for index in range(candidates)],
        splits=[(None, None)] * splits,
    )


def screen(view: Any, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(progress_screen(view, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def outcome(candidate: int, split: int, score: Any = 0.5, **more: Any) -> Outcome:
    settings: dict[str, Any] = {"round": 0, "status": "scored", "node": "one", "slot": 0}
    return Outcome(candidate=candidate, split=split, test_scores=score, **(settings | more))


def greeting(slots: int = 2) -> Greeting:
    return Greeting(
        protocol=1,
        versions={"python": "3.11"},
        host="box",
        cpu="A CPU",
        machine="x86_64",
        vcpus=slots,
        memory_bytes=1,
        slots=slots,
        threads_per_slot=1,
        pid=1,
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    return Progress(clock)


def test_an_empty_view(progress):
    """Before the first event the view has no nodes, no rate and no best score."""
    view = progress.view()

    assert (view.done, view.total, view.round, view.nodes) == (0, 0, -1, ())
    assert (view.rate, view.best_score, view.best_params) == (None, None, None)


def test_fits_are_counted(progress):
    """Each outcome counts once for the run and its node; failed and killed fits are failed."""
    progress.round_opened(plan(), [])
    progress.outcomes_recorded([outcome(0, 0), outcome(1, 0, node="two")])
    progress.outcomes_recorded([outcome(2, 0, None, status="failed")])
    progress.outcomes_recorded([outcome(3, 0, None, status="killed", node="two")])

    view = progress.view()

    assert (view.done, view.total, view.failed) == (4, 8, 2)
    assert {node.name: node.fits for node in view.nodes} == {"one": 2, "two": 2}


def test_recorded_fits_are_done_but_not_fast(progress, clock):
    """Fits of an earlier session count as done but not in the rate."""
    progress.round_opened(plan(), [outcome(0, 0, 0.7), outcome(0, 1, 0.9)])
    clock.now += 1
    progress.outcomes_recorded([outcome(1, 0)])

    view = progress.view()

    assert (view.done, view.reused) == (3, 2)
    assert view.rate == pytest.approx(1.0)
    assert view.best_score == pytest.approx(0.8)


def test_the_rate_is_that_of_the_window(clock):
    """Outcomes before the window do not count in the rate."""
    progress = Progress(clock, window=10)
    progress.round_opened(plan(1000, 1), [])
    for candidate in range(100):
        clock.now += 0.1 if candidate < 50 else 1
        progress.outcomes_recorded([outcome(candidate, 0)])

    assert progress.view().rate == pytest.approx(1.0)
    assert progress.view().seconds_left == pytest.approx(900.0)


def test_the_rate_falls_without_outcomes(progress, clock):
    """The rate of a run without new outcomes falls."""
    progress.round_opened(plan(100, 1), [])
    for candidate in range(10):
        clock.now += 1
        progress.outcomes_recorded([outcome(candidate, 0)])
    before = progress.view().rate
    clock.now += 90

    assert before == pytest.approx(1.0)
    assert progress.view().rate == pytest.approx(0.1)


def test_time_left_is_zero_at_the_end_and_unknown_at_first(progress, clock):
    """Time left is unknown before the first outcome and 0 after the last."""
    progress.round_opened(plan(1, 1), [])
    assert progress.view().seconds_left is None
    clock.now += 1
    progress.outcomes_recorded([outcome(0, 0)])
    assert progress.view().seconds_left == 0.0


def test_time_left_depends_on_each_candidate(progress, clock):
    """The time left counts the open splits of each candidate with the time of its first split."""
    progress.round_opened(plan(2, 5), [])
    clock.now += 9
    progress.outcomes_recorded([outcome(0, 0, busy_seconds=9.0)])
    clock.now += 1
    progress.outcomes_recorded([outcome(1, 0, busy_seconds=1.0)])
    assert progress.view().seconds_left == pytest.approx(4 * 9 + 4 * 1)

    for split in range(1, 5):
        clock.now += 9
        progress.outcomes_recorded([outcome(0, split, busy_seconds=9.0)])

    assert progress.view().seconds_left == pytest.approx(4 * 1)


def test_there_is_a_best_from_the_first_split_on(progress):
    """The best so far is known from the first outcome on, with the number of its splits."""
    progress.round_opened(plan(), [])
    progress.outcomes_recorded([outcome(0, 0, 0.5), outcome(1, 0, 0.7)])

    view = progress.view()
    assert (view.best_score, view.best_params) == (0.7, {"C": 1})
    assert (view.best_splits, view.splits) == (1, 2)
    assert "best 0.7 (1 of 2 splits) C=1" in progress_line(view)
    assert "best 0.70000   (1 of 2 splits)   C=1" in screen(view)


def test_a_best_whose_later_split_fails_is_replaced(progress):
    """A candidate that was best until one of its splits failed is not best any more."""
    progress.round_opened(plan(), [])
    progress.outcomes_recorded([outcome(0, 0, 0.5), outcome(1, 0, 0.7)])
    progress.outcomes_recorded([outcome(1, 1, None, status="failed")])

    assert progress.view().best_params == {"C": 0}


def test_a_fit_that_runs_for_long_has_a_line(progress, clock):
    """The fits that run for longest are shown with their time, parameters and split."""
    progress.round_opened(plan(splits=3), [])
    progress.node_greeted("one", greeting())
    progress.fits_running("one", [(1, 0, 7.0), (2, 1, 0.5)])
    clock.now += 1

    text = screen(progress.view())
    assert "fitting 0:00:08   C=1, split 1 of 3" in text
    assert "C=2" not in text
    progress.outcomes_recorded([outcome(1, 0)])
    assert "fitting" not in screen(progress.view())


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_display_is_readable_at_any_width(progress, clock, width):
    """Phase, fits, failures, best and node are readable in 40 columns."""
    progress.phase("searching")
    progress.round_opened(plan(100, 10), [])
    progress.node_changed("local-1", "working")
    progress.node_greeted("local-1", greeting())
    progress.outcomes_recorded([outcome(1, 0, node="local-1")])
    progress.fits_running("local-1", [(1, 1, 70.0)])
    clock.now += 3700

    lines = screen(progress.view(), width).splitlines()

    assert max(map(len, lines)) <= width
    for part in ("searching", "1/1000 fits", "1:01:40", "0 failed", "best 0.50000", "C=1",
                 "(1 of 10 splits)", "fitting 1:02:50", "local-1", "working"):  # fmt: skip
        assert any(part in line for line in lines), part


def test_nothing_left_is_a_dash():
    """Time left is a dash where it is unknown or nothing, never 0:00:00."""
    assert [left_text(one) for one in (None, 0.0, 0.2, 7)] == ["- left"] * 3 + ["0:00:07 left"]


def test_lines_of_a_frame_that_a_narrower_terminal_wraps_are_counted():
    """A terminal that became narrower has wrapped lines, which are erased too."""
    assert wrapped_lines([80, 30, 0, 81], 40) == 1 + 0 + 0 + 2


def test_a_node_that_has_ended_is_finished(progress):
    """A node whose work is done is called finished."""
    progress.node_changed("one", "gone")
    assert "finished" in screen(progress.view())


def test_the_best_of_complete_candidates_is_scikit_learns(progress):
    """A candidate with all splits goes before one with fewer, by its mean."""
    progress.round_opened(plan(), [])
    progress.outcomes_recorded([outcome(0, 0, 0.5), outcome(0, 1, 0.7), outcome(1, 0, 0.99)])

    assert progress.view().best_score == pytest.approx(0.6)
    assert progress.view().best_params == {"C": 0}


def test_first_of_equals_is_best(progress):
    """Of equal candidates the first by number is best, in any order of arrival."""
    progress.round_opened(plan(splits=1), [])
    progress.outcomes_recorded([outcome(2, 0, 0.5), outcome(1, 0, 0.5), outcome(3, 0, 0.5)])

    assert progress.view().best_params == {"C": 1}


def test_failed_candidates_are_never_best(progress):
    """A candidate with a failed split or a NaN score is never best."""
    progress.round_opened(plan(), [])
    progress.outcomes_recorded([outcome(0, 0, 9.0), outcome(0, 1, None, status="failed")])
    progress.outcomes_recorded([outcome(1, 0, 9.0), outcome(1, 1, float("nan"))])
    progress.outcomes_recorded([outcome(2, 0, -3.0), outcome(2, 1, -3.0)])

    assert progress.view().best_params == {"C": 2}


@pytest.mark.parametrize(
    ("metric", "score", "best"),
    [
        (None, {"accuracy": 0.25, "f1": 0.75}, 0.25),
        ("f1", {"accuracy": 0.25, "f1": 0.75}, 0.75),
        ("gone", {"accuracy": 0.25, "f1": 0.75}, 0.25),
        (None, np.float64(0.1), 0.1),
        (None, np.float32(0.5), 0.5),
        (None, 3, 3.0),
        (None, {"r2": np.float64(0.3)}, 0.3),
    ],
)
def test_scores_of_every_kind(clock, metric, score, best):
    """NumPy scores, whole numbers and several scores are compared as numbers."""
    progress = Progress(clock, metric)
    progress.round_opened(plan(1, 1), [])
    progress.outcomes_recorded([outcome(0, 0, to_wire(score))])

    assert progress.view().best_score == best


def test_a_later_round_has_its_own_best(progress):
    """In a halving search the best of the newest round is shown, because it used the most data."""
    progress.round_opened(plan(4, 1), [])
    progress.outcomes_recorded([outcome(0, 0, 0.9)])
    progress.round_closed(0)
    progress.round_opened(plan(2, 1, number=1), [])
    assert progress.view().best_score == 0.9

    progress.outcomes_recorded([outcome(1, 0, 0.4, round=1)])

    assert (progress.view().best_score, progress.view().best_params) == (0.4, {"C": 1})
    assert (progress.view().done, progress.view().total) == (2, 6)


def test_nodes_show_their_latest_state(progress):
    """A node's state, slots and load are the latest that it reported."""
    progress.node_changed("one", "preparing")
    progress.node_greeted("one", greeting(slots=4))
    progress.node_beat("one", Heartbeat(busy=3, running=[1], slots_bytes=7, load=2.5))
    (node,) = progress.view().nodes
    assert (node.state, node.busy, node.slots, node.load) == ("preparing", 3, 4, 2.5)
    assert (node.slots_bytes, node.host) == (7, "box")

    progress.node_lost("one", "it fell silent")

    (node,) = progress.view().nodes
    assert (node.state, node.busy) == ("lost", 0)


def test_more_fits_at_a_time_than_vcpus_is_one_line(progress):
    """A node with more slots than vCPUs is named once, also if there are several."""
    crowded = msgspec.structs.replace(greeting(slots=8), vcpus=2)
    for name in ("one", "two"):
        progress.node_greeted(name, crowded)

    (problem,) = [event for event in progress.take_events() if event.level == "problem"]
    assert problem.text.startswith("note: one runs 8 fits at a time on 2 vCPUs")


def test_events_are_limited_and_taken_once(progress):
    """Events are taken once; of too many, the latest stay and a line counts the others."""
    for split in range(EVENTS_KEPT + 5):
        progress.attempt_failed("one", 0, split, "SIGSEGV", again=True)

    events = progress.take_events()

    assert len(events) == EVENTS_KEPT + 1
    assert events[0].text == "(5 earlier lines)"
    assert events[-1].text.startswith("one: SIGSEGV: candidate 0, split ")
    assert progress.take_events() == []
    assert progress.view().retries == EVENTS_KEPT + 5


def test_the_death_of_a_slot_names_parameters_split_and_what_follows(progress):
    """The line about a slot's death has the parameters and the split, and says if it is retried."""
    progress.round_opened(plan(2, splits=3), [])
    progress.take_events()

    progress.attempt_failed("one", 1, 0, "timed out after 3 s", again=True)

    (event,) = progress.take_events()
    assert event.text == "one: timed out after 3 s: C=1, split 1 of 3; retrying"


def test_screen_fits_eighty_columns(progress, clock):
    """With long names and parameters the display stays small and within the width."""
    long = {f"preprocessing__step_{index}__value": SVC(C=index) for index in range(20)}
    long["clf"] = make_pipeline(StandardScaler(), SVC())
    progress.round_opened(RoundPlan(round=0, candidates=[long] * 3, splits=[(0, 0)]), [])
    progress.outcomes_recorded([outcome(0, 0, 0.123456)])
    for number in range(30):
        progress.node_greeted(
            f"a-node-with-a-very-long-name-in-some-far-region-{number}", greeting()
        )
    clock.now += 7000
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)

    console.print(progress_screen(progress.view(), 80))

    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 16
    assert "1/3 fits" in lines[0]
    assert any(line.startswith("best 0.12346") for line in lines)
    assert any(line.startswith("23 more") for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_a_node_shows_its_state_load_and_memory(progress, width):
    """In 80 columns, only a long name of a node is cut off."""
    name = "gpu-cluster-of-the-institute-17"
    progress.node_greeted(name, greeting(slots=64))
    progress.node_beat(name, Heartbeat(busy=64, running=[], slots_bytes=123 * 2**30, load=102.5))
    progress.outcomes_recorded([outcome(0, 0, 0.5, node=name)] * 12345)
    progress.node_changed(name, "receiving 100 %")
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)

    console.print(progress_screen(progress.view(), width))

    line = console.file.getvalue().splitlines()[-1]
    assert len(line) <= width
    for part in ("receiving 100 %", "64/64 slots", "12345 fits", "load 102.5", "123.0 GiB"):
        assert part in line
    assert (name if width == 120 else name[:11]) in line


def test_a_transfer_is_one_event(progress):
    """Percentages of a transfer update the node's state and make one event."""
    for state in ("receiving", *(f"receiving {percent} %" for percent in range(0, 101, 10))):
        progress.node_changed("one", state)
    progress.node_changed("one", "working")
    assert [event.text for event in progress.take_events()] == ["one: receiving", "one: working"]
    progress.node_changed("one", "receiving 5 %")
    (node,) = progress.view().nodes
    assert node.state == "receiving 5 %"


def test_a_line_without_a_terminal(progress, clock):
    """Without a terminal, one line holds fits, failures, slots, rate, time left and the best."""
    progress.phase("searching")
    progress.node_greeted("one", greeting())
    progress.round_opened(plan(4, 1), [])
    clock.now += 2
    progress.outcomes_recorded([outcome(3, 0, 0.5)])

    line = progress_line(progress.view())

    assert line == (
        "searching  1/4 fits  0 failed  0/2 slots  0.5 fits/s  0:00:06 left  best 0.5 C=3"
    )


def test_a_line_before_the_first_node_says_what_it_waits_for(progress):
    """Without a ready node the line has the state of the first one: queued, and why."""
    progress.phase("searching")
    progress.round_opened(plan(4, 1), [])
    progress.node_changed("slurm-1", "queued 4 of 31, Priority")

    line = progress_line(progress.view())

    assert "0/0 slots  slurm-1 queued 4 of 31, Priority  - fits/s" in line


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "- fits/s"), (0.05, "0.05 fits/s"), (8.44, "8.4 fits/s"), (4321.0, "4,321 fits/s")],
)
def test_rates(rate, text):
    """A rate is printed with a unit that suits its size."""
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-:--:--"), (59.6, "0:01:00"), (3725, "1:02:05")]
)
def test_seconds(seconds, text):
    """Seconds are printed as hours, minutes and seconds."""
    assert seconds_text(seconds) == text


def _ticks(count: int):
    """Return a `wait` that ends after `count` turns of the display, and the event for that."""
    acted, left = threading.Event(), [count]

    def wait(stop: threading.Event, seconds: float) -> bool:
        left[0] -= 1
        if left[0] < 0:
            acted.set()
            return stop.wait(120)
        return False

    return wait, acted


def test_plain_lines_without_a_terminal(progress):
    """Without a terminal, the display prints lines with problems and without escape codes."""
    stream = io.StringIO()
    wait, acted = _ticks(2)
    progress.attempt_failed("one", 1, 0, "SIGKILL", again=False)
    progress.phase("searching")

    with show_progress(progress, stream=stream, wait=wait):
        assert acted.wait(120)

    lines = stream.getvalue().splitlines()
    assert lines[0] == "one: SIGKILL: candidate 1, split 1; given up"
    assert all(line.startswith("searching  0/0 fits") for line in lines[1:])
    assert len(lines) == 3, "the last line is not repeated"
    assert "\x1b" not in stream.getvalue()


def test_verbose_shows_every_change(progress):
    """Under -v each change is a line with its time."""
    stream = io.StringIO()
    progress.node_changed("one", "working")

    with show_progress(progress, stream=stream, verbose=1):
        pass

    assert re.match(r"\d\d:\d\d:\d\d one: working\n", stream.getvalue())


def test_quiet_shows_nothing(progress):
    """Under --quiet the display prints nothing, not even problems."""
    stream = Terminal()
    progress.node_lost("one", "it fell silent")

    with show_progress(progress, stream=stream, quiet=True):
        pass

    assert stream.getvalue() == ""


def test_live_display_in_a_terminal(progress, monkeypatch):
    """In a terminal the display is redrawn in place, and its last state stays."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    wait, acted = _ticks(1)

    with show_progress(progress, stream=stream, wait=wait):
        assert acted.wait(120)
        progress.round_opened(plan(1, 1), [])
        progress.outcomes_recorded([outcome(0, 0)])

    shown = stream.getvalue()
    assert "\x1b[" in shown
    assert "1/1 fits" in shown


def test_no_color_is_honoured(progress, monkeypatch):
    """With NO_COLOR the live display has no colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()

    with show_progress(progress, stream=stream):
        progress.round_opened(plan(1, 1), [])

    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", stream.getvalue())


def test_closed_stderr_does_not_end_the_run(progress):
    """A run continues after its stderr was closed."""
    stream = io.StringIO()
    with show_progress(progress, stream=stream):
        stream.close()
        progress.phase("searching")
