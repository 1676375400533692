"""Machines that are taken away with notice: behaviour of agents and of the engine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from skygrid.errors import NodeError
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.local_process import LocalProcess
from skygrid.worker.wire.messages.from_agent import AgentLog, Greeting, Heartbeat, Leaving, Pull
from skygrid.worker.wire.messages.results import FitResult
from skygrid.worker.wire.messages.to_agent import Attach
from tests import misbehaving as bad
from tests.agent_driver import AgentDriver, search_of
from tests.driven import (
    Driven,
    Meddling,
    Nodes,
    assert_as_scikit_learn,
    data,
    once,
    tree_search,
)
from tests.notified_agent import command, notify
from tests.processes import children

pytestmark = pytest.mark.usefixtures("nothing_left")


# ---- the agent ----------------------------------------------------------------------------------


def test_a_leaving_agent_ends_running_fits_and_returns_the_rest(tmp_path: Path) -> None:
    """Running fits are reported, unstarted leases are returned, and no more are requested."""
    pipe, gate = tmp_path / "pipe", tmp_path / "gate"
    with AgentDriver(slots=1, command=command(pipe)) as agent:
        agent.setup()
        agent.open(search_of(bad.Gated(a=0.5, path=str(gate)), bad.own_score))
        first, second = agent.grant(0, 0)
        agent.wait(Heartbeat, lambda beat: first in beat.running)
        notify(pipe)
        assert agent.wait(Leaving) == Leaving(reason="wanted back", seconds=120.0)
        (late,) = agent.grant(0)
        assert agent.ends([second, late]) == ["returned", "returned"]
        gate.touch()
        (end,) = agent.ends([first])
        assert isinstance(end, FitResult)
        agent.fence()
        heard = agent.since_open(Leaving | Pull)  # type: ignore[arg-type]
        assert isinstance(heard[-1], Leaving)


@pytest.mark.parametrize("number", [signal.SIGURG, signal.SIGTERM])
def test_signals_of_a_scheduler_are_a_notice(tmp_path: Path, number: signal.Signals) -> None:
    """A signal to all processes of the node is a notice; running fits end, the rest returns."""
    gate = tmp_path / "gate"
    scheduled = [sys.executable, "-P", "-m", "skygrid.worker", "--departures"]
    with AgentDriver(slots=1, command=scheduled) as agent:
        agent.setup()
        agent.open(search_of(bad.Gated(a=0.5, path=str(gate)), bad.own_score))
        first, second = agent.grant(0, 0)
        agent.wait(Heartbeat, lambda beat: first in beat.running)
        for pid in (*children(agent.pid), agent.pid):
            os.kill(pid, number)
        assert agent.wait(Leaving).seconds is None
        assert agent.ends([second]) == ["returned"]
        gate.touch()
        (end,) = agent.ends([first])
        assert isinstance(end, FitResult)


def test_a_later_driver_gets_the_notice(tmp_path: Path) -> None:
    """A leaving agent repeats the notice to each driver that attaches."""
    pipe = tmp_path / "pipe"
    with AgentDriver(slots=1, command=command(pipe)) as agent:
        agent.greeted()
        notify(pipe)
        agent.wait(Leaving)
        agent.send(Attach())
        agent.wait_for(lambda: len(agent.since_open(Leaving)) == 2, "the notice again")
        greetings_and_notices = agent.since_open(Greeting | Leaving)  # type: ignore[arg-type]
        assert [type(message) for message in greetings_and_notices] == [Greeting, Leaving] * 2


def test_an_invalid_notice_is_logged(tmp_path: Path) -> None:
    """Invalid bytes from the pipe are logged, and the agent continues."""
    pipe = tmp_path / "pipe"
    with AgentDriver(slots=1, command=command(pipe)) as agent:
        agent.setup()
        agent.greeted()
        notify(pipe, b"\xff" * 64)
        agent.wait(AgentLog, lambda log: "no more is heard of the machine" in log.text)
        agent.open(search_of(bad.Harmless(a=0.5), bad.own_score))
        assert agent.scores(0) == [0.5]
        assert not agent.since_open(Leaving)


# ---- the engine ---------------------------------------------------------------------------------


class Machines(Nodes):
    """Nodes that can be given notice, with other machines as successors."""

    def __init__(self, folder: Path, count: int = 1) -> None:
        super().__init__(count)
        self._folder = folder

    def pipe(self, name: str) -> Path:
        """Return the pipe for notices to the node's agent."""
        return self._folder / f"{name}.pipe"

    def transport(self, name: str, watcher: Watcher) -> Transport:
        process = LocalProcess([*command(self.pipe(name)), "--slots", "1", "--vcpus", "1"])
        self.made.setdefault(name, []).append(process)
        return process

    def successor(self, name: str) -> str | None:
        return f"{name}b"


def test_a_leaving_node_is_replaced_at_once_and_gets_no_more_work(tmp_path: Path) -> None:
    """A leaving node is replaced by another machine, which runs the rest."""
    X, y = data()
    nodes = Machines(tmp_path)
    with Driven(nodes) as run:
        run.watch.on_outcomes = once(lambda: notify(nodes.pipe("node-1")))
        search = run.fit(tree_search(), X, y)
        assert {name: len(made) for name, made in nodes.made.items()} == {
            "node-1": 1,
            "node-1b": 1,
        }
        states = [state for node, state in run.watch.states if node == "node-1"]
        assert "working" not in states[states.index("leaving") :]
        by_node = [outcome.node for outcome in run.watch.outcomes]
        # Without the notice it would have run all fits before the other machine started.
        assert set(by_node) == {"node-1", "node-1b"}
    assert_as_scikit_learn(search)


def test_a_node_that_left_is_not_replaced_again_and_no_fit_is_charged(tmp_path: Path) -> None:
    """The end of a node with notice starts no successor, and its fits are run elsewhere."""
    X, y = data()
    nodes, gate = Machines(tmp_path), tmp_path / "gate"
    search = tree_search().set_params(estimator=bad.Gated(path=str(gate)), refit=False)
    search.set_params(param_grid={"a": [0.0, 1.0, 2.0]}, scoring=bad.own_score)
    with Driven(nodes) as run:

        def when_running(node: str, beat: Heartbeat) -> None:
            if beat.running and node == "node-1":
                notify_once()
            if ("node-1b", "working") in run.watch.states and not gate.exists():
                # Its fit must not end, or it would leave before it is killed.
                os.kill(nodes.pid("node-1"), signal.SIGKILL)
                gate.touch()

        notify_once = once(lambda: notify(nodes.pipe("node-1")))
        run.watch.on_beat = when_running
        fitted = run.fit(search, X, y)
        assert [node for node, _ in run.watch.reasons] == ["node-1"]
        assert {name: len(made) for name, made in nodes.made.items()} == {
            "node-1": 1,
            "node-1b": 1,
        }
        assert {outcome.node for outcome in run.watch.outcomes} == {"node-1b"}
        assert len(run.watch.outcomes) == 15
    assert list(fitted.cv_results_["mean_test_score"]) == [0.0, 1.0, 2.0]


def test_a_leaving_node_without_a_successor_is_not_replaced(tmp_path: Path) -> None:
    """Without a successor, the other nodes run the rest."""
    X, y = data()
    nodes = Machines(tmp_path, count=2)
    nodes.successor = lambda name: name  # type: ignore[method-assign]  # only on the same machine
    with Driven(nodes, min_nodes=2) as run:
        run.watch.on_outcomes = once(lambda: notify(nodes.pipe("node-1")))
        search = run.fit(tree_search(), X, y)
        assert [len(made) for made in nodes.made.values()] == [1, 1]
    assert_as_scikit_learn(search)


def test_nodes_that_always_leave_end_the_search(tmp_path: Path) -> None:
    """A place whose machines leave without work is given up after a number of them."""
    X, y = data()

    def leave_at_once(message: Any) -> Iterable[Any]:
        return [message, Leaving(reason="so it says")] if type(message) is Greeting else [message]

    class Leavers(Nodes):
        def transport(self, name: str, watcher: Watcher) -> Transport:
            self.made.setdefault(name, [])
            return Meddling(super().transport(name, watcher), leave_at_once)  # type: ignore[arg-type]

        def successor(self, name: str) -> str | None:
            return f"{name}b"

    nodes = Leavers(1)
    with Driven(nodes) as run, pytest.raises(NodeError, match="taken away"):
        run.fit(tree_search(), X, y)
    assert len(nodes.made) == 6
