"""Slots that end a round clean run the next one, and nothing else of the round remains."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from skygrid.worker.agent.round import EMPTY_DEATHS
from skygrid.worker.wire.messages.from_agent import AgentLog, Greeting, Heartbeat, Refusal, SlotDied
from skygrid.worker.wire.messages.results import FitResult
from skygrid.worker.wire.messages.to_agent import Attach, CloseRound
from tests import misbehaving as bad
from tests.agent_driver import AgentDriver, search_of
from tests.processes import (
    kill,
    leaving_nothing,
    running,
    unnamed_files,
    wait_gone,
    wait_until,
)

LARGE = (np.ones((20, 2**19)), np.arange(20) % 2)
"""X and y of 80 MiB."""


@pytest.fixture(params=["fork", "spawn"])
def start_method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def agent(start_method: str) -> Iterator[AgentDriver]:
    """Agent with two slots."""
    with leaving_nothing(), AgentDriver(start_method, slots=2) as driver:
        driver.setup()
        yield driver


def whole_round(agent: AgentDriver, **options: Any) -> set[int]:
    """Run a round and return its slots."""
    agent.open(search_of(bad.Harmless(), bad.slot_pid), **options)
    slots = agent.slot_pids()
    assert set(map(int, agent.scores(0, 0, 0, 0))) <= slots
    agent.send(CloseRound(round=agent.round))
    return slots


def slots_that_fit(agent: AgentDriver, estimator: Any) -> set[int]:
    """Run a round of this estimator and return the slots that fitted it."""
    agent.open(search_of(estimator, bad.slot_pid))
    slots = set(map(int, agent.scores(0, 0, 0, 0)))
    agent.send(CloseRound(round=agent.round))
    return slots


def wait_ended(slots: set[int]) -> None:
    """Wait until none of these processes runs; the agent reaps them later."""
    wait_until(lambda: not running(slots), "the slots to end")


def test_the_next_round_has_the_same_slots(agent: AgentDriver) -> None:
    """Rounds that load quickly are run by the same processes."""
    slots = whole_round(agent)
    assert len(slots) == 2
    assert [whole_round(agent) for _ in range(3)] == [slots] * 3


def test_a_kept_slot_uses_the_new_round(agent: AgentDriver) -> None:
    """Candidates, scorers and settings are those of the current round."""
    whole_round(agent)
    settings = {"working_memory": 77}
    agent.open(search_of(bad.Harmless(), bad.sklearn_setting, sklearn_config=settings))
    assert agent.scores(0, 0, 0) == [77.0] * 3
    agent.open(search_of(bad.Harmless(), bad.own_score), [{"a": 5}, {"a": 6}])
    assert [int(score.text, 16) for score in agent.scores(1, 0, 1)] == [6, 5, 6]


def test_a_kept_slot_repeats_no_random_numbers(agent: AgentDriver) -> None:
    """Unseeded estimators differ between slots and between rounds."""
    seen: list[Any] = []
    for _ in range(3):
        agent.open(search_of(bad.Random(), bad.own_score))
        seen += agent.scores(0, 0, 0, 0)
    assert len(set(seen)) == len(seen)


def test_slots_outlive_the_folder_of_a_round(agent: AgentDriver) -> None:
    """The shared folder of a round is removed with it; the slots stay."""
    slots = whole_round(agent)
    for _ in range(2):
        assert slots < whole_round(agent, keeps=True)  # and the process that removes the folder
    assert whole_round(agent) == slots


def test_slots_release_the_data(agent: AgentDriver) -> None:
    """Slots stay after a round of any size and release its X and y."""
    slots = whole_round(agent, data=LARGE)
    wait_until(lambda: not any(map(has_files, slots)), "80 MiB to be let go of")
    assert [whole_round(agent, data=data) for data in (None, LARGE)] == [slots] * 2
    wait_until(lambda: not any(map(has_files, slots)), "80 MiB to be let go of again")


def test_slots_that_keep_the_data_end_after_their_round(agent: AgentDriver) -> None:
    """X and y are released even if an exception that outlives its fit refers to them."""
    # Small enough for slots that keep it to stay below `HELD_BYTES`.
    data = np.ones((20, 2**15)), np.arange(20) % 2
    agent.open(search_of(bad.RaisingTheSameError(), bad.slot_pid), data=data)
    slots = agent.slot_pids()
    ends = agent.run(0, 0, 0, 0)
    assert {result.status for result in ends if isinstance(result, FitResult)} == {"failed"}
    agent.send(CloseRound(round=agent.round))
    wait_until(lambda: not unnamed_files(running(slots), least=2**22), "5 MiB to be let go of")
    whole_round(agent)


def has_files(pid: int) -> bool:
    """Return whether a process has opened or mapped a large file without a name."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return False
    mapped = [
        int(end, 16) - int(begin, 16)
        for begin, end in (line.split()[0].split("-") for line in lines if "(deleted)" in line)
    ]
    return any(size > 2**25 for size in mapped) or bool(unnamed_files([pid], least=2**25))


def test_slots_with_much_memory_end_after_their_round(agent: AgentDriver) -> None:
    """A node between two searches holds no memory of the last one."""
    wait_ended(slots_that_fit(agent, bad.KeepingMemory()))
    whole_round(agent)


def test_slots_with_threads_end_after_their_round(agent: AgentDriver) -> None:
    """A thread that a fit has started does not continue in another search."""
    wait_ended(slots_that_fit(agent, bad.StartingThreads()))
    whole_round(agent)


def test_slots_that_end_by_themselves_are_no_loss(agent: AgentDriver) -> None:
    """Slots that end after their rounds are not reported, and the next rounds run."""
    seen = [slots_that_fit(agent, bad.StartingThreads()) for _ in range(EMPTY_DEATHS + 1)]
    assert len(set.union(*seen)) >= len(seen)
    assert slots_that_fit(agent, bad.Harmless())
    assert not any(isinstance(message, AgentLog) for message in agent.heard)


def test_slots_with_a_running_fit_end_with_their_round(agent: AgentDriver, tmp_path: Path) -> None:
    """A fit that still runs when its round is closed is stopped."""
    agent.open(search_of(bad.Waiting(path=str(tmp_path / "pid")), bad.slot_pid))
    slots = agent.slot_pids()
    (lease,) = agent.grant(0)
    agent.wait(Heartbeat, lambda beat: lease in beat.running)
    agent.send(CloseRound(round=agent.round))
    wait_gone(slots)
    whole_round(agent)


def test_a_slot_that_ends_between_rounds_is_no_loss(agent: AgentDriver) -> None:
    """A slot that ends between two rounds is replaced."""
    ended = min(whole_round(agent))
    kill(ended)
    wait_ended({ended})
    slots = whole_round(agent)
    assert ended not in slots
    assert len(slots) == 2


@pytest.mark.parametrize("start_method", ["auto"])
def test_no_slot_is_forked_beside_threads(agent: AgentDriver) -> None:
    """Once the load of a search has started threads, later rounds have spawned slots too."""
    first = slots_that_fit(agent, bad.StartingThreadsAtLoad())
    assert all(map(is_spawned, first))
    kill(min(first))
    wait_ended({min(first)})
    later = whole_round(agent)
    assert min(first) not in later
    assert all(map(is_spawned, later))


def is_spawned(pid: int) -> bool:
    """Return whether a slot is a spawned interpreter, not a fork of its agent."""
    return "skygrid.worker.slots.loop" in psutil.Process(pid).cmdline()


def test_a_kept_slot_that_dies_is_replaced(agent: AgentDriver, tmp_path: Path) -> None:
    """A fit that kills its slot costs only that fit, also in a later round."""
    slots = whole_round(agent)
    agent.open(search_of(bad.Segfaulting(), bad.slot_pid), [{"culprit": True}, {"culprit": False}])
    assert agent.slot_pids() == slots
    ends = agent.run(0, *[1] * 9)
    assert isinstance(ends[0], SlotDied)
    assert {result.status for result in ends[1:] if isinstance(result, FitResult)} == {"scored"}
    wait_until(lambda: len(agent.slot_pids()) == 2, "a slot in its place")
    assert agent.slot_pids() != slots


def test_a_search_that_does_not_load_is_refused_by_kept_slots(agent: AgentDriver) -> None:
    """The driver gets the reason from a kept slot as it does from the agent."""
    whole_round(agent)
    agent.send_round(search_of(bad.Unloadable(), bad.slot_pid))
    assert "does not load" in agent.wait(Refusal).reason
    assert agent.wait_end() == 0


def test_another_driver_has_its_own_slots(agent: AgentDriver) -> None:
    """After a new driver attaches, the slots of the earlier one end."""
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
    """An agent that is killed between two rounds leaves no slots."""
    slots = whole_round(agent)
    kill(agent.pid)
    assert agent.wait_end() == -signal.SIGKILL
    wait_gone(slots)
