"""Slots that came through a round run the next one, and nothing else of the round stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from skygrid.worker.wire.messages import (
    Attach,
    CloseRound,
    FitResult,
    Greeting,
    Heartbeat,
    Refusal,
    SlotDied,
)
from tests import misbehaving as bad
from tests.agent_driver import AgentDriver, search_of
from tests.processes import kill, leaving_nothing, running, wait_gone, wait_until

FORKED = pytest.mark.parametrize("start_method", ["fork"])
"""Slots that are spawned load every round by themselves."""


LARGE = (np.ones((20, 2**19)), np.arange(20) % 2)
"""X and y of 80 MiB."""


@pytest.fixture(params=["fork", "spawn"])
def start_method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def agent(start_method: str) -> Iterator[AgentDriver]:
    """An agent of two slots."""
    with leaving_nothing(), AgentDriver(start_method, slots=2) as driver:
        driver.setup()
        yield driver


def whole_round(agent: AgentDriver, estimator: Any = None, **options: Any) -> set[int]:
    """A round from its opening to its end; the slots that it had."""
    agent.open(search_of(estimator or bad.Harmless(), bad.slot_pid), **options)
    slots = agent.slot_pids()
    assert set(map(int, agent.scores(0, 0, 0, 0))) <= slots
    agent.send(CloseRound(round=agent.round))
    return slots


def test_the_next_round_has_the_slots_of_the_last(agent: AgentDriver) -> None:
    """Rounds that cost nothing to load are run by the same processes, one after another."""
    slots = whole_round(agent)
    assert len(slots) == 2
    assert [whole_round(agent) for _ in range(3)] == [slots] * 3


def test_a_kept_slot_runs_what_the_new_round_says(agent: AgentDriver) -> None:
    """Candidates, scorers and settings are those of the round that is open."""
    whole_round(agent)
    settings = {"working_memory": 77}
    agent.open(search_of(bad.Harmless(), bad.sklearn_setting, sklearn_config=settings))
    assert agent.scores(0, 0, 0) == [77.0] * 3
    agent.open(search_of(bad.Harmless(), bad.own_score), [{"a": 5}, {"a": 6}])
    assert [int(score.text, 16) for score in agent.scores(1, 0, 1)] == [6, 5, 6]


def test_a_kept_slot_repeats_no_random_numbers(agent: AgentDriver) -> None:
    """Unseeded estimators differ from slot to slot and from round to round."""
    seen: list[Any] = []
    for _ in range(3):
        agent.open(search_of(bad.Random(), bad.own_score))
        seen += agent.scores(0, 0, 0, 0)
    assert len(set(seen)) == len(seen)


def test_slots_outlive_the_folder_of_a_round(agent: AgentDriver) -> None:
    """What slots keep together goes with its round; the slots stay."""
    slots = whole_round(agent)
    for _ in range(2):
        assert slots < whole_round(agent, keeps=True)  # beside what will remove the folder
    assert whole_round(agent) == slots


@FORKED
def test_a_round_that_is_large_to_load_is_loaded_once(agent: AgentDriver) -> None:
    """Forked slots share what their agent has loaded, so a large round has slots of its own."""
    small = whole_round(agent)
    large = whole_round(agent, data=LARGE)
    assert not small & large
    wait_gone(small | large)
    assert not large & whole_round(agent)


@FORKED
def test_what_takes_long_to_load_is_loaded_once(agent: AgentDriver) -> None:
    """What may take much memory, an import for one, has slots that share it with the agent."""
    first = whole_round(agent)
    second = whole_round(agent, bad.SlowToLoad())
    assert not first & second
    assert whole_round(agent) == second


@pytest.mark.parametrize("start_method", ["spawn"])
def test_slots_let_go_of_the_data(agent: AgentDriver) -> None:
    """Spawned slots stay after any round, and have nothing of its X and y any more."""
    for data in (LARGE, None, LARGE):
        slots = whole_round(agent, data=data)
        wait_until(partial(maps_little, slots), "80 MiB to be let go of")
    assert whole_round(agent) == slots


def maps_little(pids: set[int]) -> bool:
    """Whether none of these processes has a file without a name in its memory that is large."""
    return not any(
        end - begin > 2**25
        for pid in pids
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if line.endswith("(deleted)")
        for begin, end in [[int(address, 16) for address in line.split()[0].split("-")]]
    )


def test_slots_that_hold_much_end_though_no_round_follows(agent: AgentDriver) -> None:
    """A node that waits for its next search holds no memory of the last."""
    wait_gone(whole_round(agent, bad.KeepingMemory()))
    whole_round(agent)


def test_slots_in_which_threads_were_started_end(agent: AgentDriver) -> None:
    """What a fit left running does not go on into another search."""
    wait_gone(whole_round(agent, bad.StartingThreads()))
    whole_round(agent)


def test_slots_that_had_something_in_hand_end(agent: AgentDriver, tmp_path: Path) -> None:
    """A fit that nobody waits for any more is stopped with its round."""
    agent.open(search_of(bad.Waiting(path=str(tmp_path / "pid")), bad.slot_pid))
    slots = agent.slot_pids()
    (lease,) = agent.grant(0)
    agent.wait(Heartbeat, lambda beat: lease in beat.running)
    agent.send(CloseRound(round=agent.round))
    wait_gone(slots)
    whole_round(agent)


def test_a_slot_that_ends_between_rounds_is_no_loss(agent: AgentDriver) -> None:
    """Whatever ends slots while they wait, the next round has all that it needs."""
    ended = min(whole_round(agent))
    kill(ended)
    wait_until(lambda: not running([ended]), "the slot to end")
    slots = whole_round(agent)
    assert ended not in slots
    assert len(slots) == 2


@pytest.mark.parametrize("start_method", ["auto"])
def test_no_slot_is_forked_beside_threads(agent: AgentDriver) -> None:
    """Once loading a search has started threads, slots are spawned in all later rounds, too."""
    assert not any(map(is_spawned, whole_round(agent)))
    first = whole_round(agent, bad.StartingThreadsAtLoad(), data=LARGE)
    assert all(map(is_spawned, first))
    kill(min(first))
    wait_until(lambda: not running(first), "the others to end")
    later = whole_round(agent)
    assert not first & later
    assert all(map(is_spawned, later))


def is_spawned(pid: int) -> bool:
    """Whether a slot is an interpreter of its own, rather than a copy of its agent."""
    return "skygrid.worker.slots.loop" in psutil.Process(pid).cmdline()


def test_a_kept_slot_that_dies_is_replaced(agent: AgentDriver, tmp_path: Path) -> None:
    """A fit that takes its slot down costs that fit, in a later round as in the first."""
    slots = whole_round(agent)
    agent.open(search_of(bad.Segfaulting(), bad.slot_pid), [{"culprit": True}, {"culprit": False}])
    assert agent.slot_pids() == slots
    ends = agent.run(0, *[1] * 9)
    assert isinstance(ends[0], SlotDied)
    assert {result.status for result in ends[1:] if isinstance(result, FitResult)} == {"scored"}
    wait_until(lambda: len(agent.slot_pids()) == 2, "a slot in its place")
    assert agent.slot_pids() != slots


def test_a_search_that_kept_slots_cannot_load_is_refused(agent: AgentDriver) -> None:
    """The driver hears why, from a slot where from the agent it would have."""
    whole_round(agent)
    agent.send_round(search_of(bad.Unloadable(), bad.slot_pid))
    assert "does not load" in agent.wait(Refusal).reason
    assert agent.wait_end() == 0


def test_another_driver_has_slots_of_its_own(agent: AgentDriver) -> None:
    """Whoever comes next to an agent that was kept finds nothing of the last one's fits."""
    slots = whole_round(agent)
    greetings = len(agent.heard)
    agent.send(Attach())
    agent.wait_for(
        lambda: any(isinstance(message, Greeting) for message in agent.heard[greetings:]),
        "another greeting",
    )
    agent.setup()
    assert not slots & whole_round(agent)


def test_waiting_slots_end_with_their_agent(agent: AgentDriver) -> None:
    """Killed between two rounds, an agent leaves none behind."""
    slots = whole_round(agent)
    kill(agent.pid)
    assert agent.wait_end() == -signal.SIGKILL
    wait_gone(slots)
