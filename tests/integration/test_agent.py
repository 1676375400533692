"""A real agent on its pipes, with forked and with spawned slots."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from skygrid.worker.evaluation.contents import RoundTasks, SearchData
from skygrid.worker.limits import ORPHANED_EXIT
from skygrid.worker.machine import machine
from skygrid.worker.user_code.warning_rules import rules_now
from skygrid.worker.wire.messages.exceptions import ClassName
from skygrid.worker.wire.messages.from_agent import (
    AgentLog,
    Bye,
    Heartbeat,
    Pull,
    Refusal,
    Returned,
    SlotDied,
)
from skygrid.worker.wire.messages.results import FitResult
from skygrid.worker.wire.messages.to_agent import (
    Abandon,
    Alive,
    BlobAt,
    BlobChunk,
    CloseRound,
    Grant,
    Lease,
    OpenRound,
    Recall,
    Stop,
)
from skygrid.worker.wire.protocol import PROTOCOL
from tests import misbehaving as bad
from tests.agent_driver import AgentDriver, samples, search_of
from tests.processes import (
    WAIT_SECONDS,
    children,
    kill,
    leaving_nothing,
    running,
    wait_gone,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20


@pytest.fixture(scope="module", params=["fork", "spawn"])
def start_method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared(start_method: str) -> Iterator[Callable[[int], AgentDriver]]:
    """Return a function that gives the shared agent with a number of slots."""
    agents: dict[int, AgentDriver] = {}

    def give(slots: int) -> AgentDriver:
        if slots in agents and not agents[slots].alive:
            agents.pop(slots).close()
        if slots not in agents:
            agents[slots] = AgentDriver(start_method, slots=slots)
            agents[slots].greeted()
        return agents[slots]

    with leaving_nothing():
        yield give
        for agent in agents.values():
            agent.close()


@pytest.fixture
def agent(shared: Callable[[int], AgentDriver]) -> AgentDriver:
    """Agent with one slot that other tests have used."""
    found = shared(1)
    found.setup()
    return found


@pytest.fixture
def pair(shared: Callable[[int], AgentDriver]) -> AgentDriver:
    """Agent with two slots that other tests have used."""
    found = shared(2)
    found.setup()
    return found


@pytest.fixture
def fresh(start_method: str) -> Iterator[AgentDriver]:
    """Agent with one slot that the test may end."""
    with leaving_nothing(), AgentDriver(start_method) as driver:
        driver.setup()
        yield driver


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def pids_in(path: Path, count: int = 1) -> list[int]:
    """Wait for `count` process ids in a file, one on each line."""
    wait_until(lambda: len(lines(path)) >= count, f"{count} lines in {path.name}")
    return [int(line) for line in lines(path)]


def is_running(lease: int) -> Callable[[Heartbeat], bool]:
    return lambda beat: lease in beat.running


# ---- normal rounds ------------------------------------------------------------------------------


def test_the_greeting_describes_the_node(agent: AgentDriver) -> None:
    greeting = agent.heard[0]
    assert greeting.protocol == PROTOCOL
    assert greeting.versions == machine.versions()
    assert greeting.pid == agent.pid
    assert (greeting.slots, greeting.vcpus, greeting.threads_per_slot) == (1, 1, 1)
    assert greeting.memory_bytes > 64 * MIB


def test_a_whole_round_reports_every_lease_once(pair: AgentDriver) -> None:
    pair.open(search_of(bad.Harmless(), bad.own_score), [{"a": n} for n in range(50)], n_splits=3)
    assert pair.wait(Pull, lambda pull: pull.round == pair.round).count == 2
    tasks = [(candidate, split) for split in range(3) for candidate in range(50)]
    results = pair.run(*tasks)
    pair.fence()
    assert [int(result.test_scores.text, 16) for result in results] == [c for c, _ in tasks]
    assert {len(ends) for ends in pair.accounts().values()} == {1}
    assert {result.n_test_samples for result in results} == {20}


def test_a_second_round_has_its_own_data_and_candidates(agent: AgentDriver) -> None:
    for n in (10, 30):
        agent.open(search_of(bad.Harmless(), bad.own_score), [{"a": 0.5 * n}], data=samples(n))
        (result,) = agent.run(0)
        assert (result.test_scores, result.n_test_samples) == (0.5 * n, n)


def test_grants_of_a_closed_round_are_dropped(agent: AgentDriver) -> None:
    agent.open(search_of(bad.Harmless(), bad.slot_pid))
    agent.send(Grant(round=agent.round - 1, leases=[Lease(10**6, 0, 0)]))
    agent.run(0)
    agent.fence()
    assert 10**6 not in agent.accounts()


def test_the_slots_of_a_closed_round_end(pair: AgentDriver, tmp_path: Path) -> None:
    """The running fits of a closed round end, and the agent is ready for another round."""
    path = tmp_path / "pid"
    pair.open(search_of(bad.Waiting(path=str(path)), bad.slot_pid))
    (lease,) = pair.grant(0)
    pair.wait(Heartbeat, is_running(lease))
    before = pair.slot_pids()
    pair.send(CloseRound(round=pair.round))
    wait_until(lambda: not running(before), "the slots to end")
    assert lease not in pair.accounts()
    pair.open(search_of(bad.Harmless(), bad.own_score), [{"a": 3.0}])
    assert pair.scores(0) == [3.0]


def test_closing_an_earlier_round_closes_no_other(agent: AgentDriver) -> None:
    """CloseRound may arrive when the next round is open."""
    agent.open(search_of(bad.Harmless(), bad.slot_pid))
    agent.send(CloseRound(round=agent.round - 1))
    agent.scores(0)


def test_the_first_request_of_a_round_is_one_lease_per_slot(agent: AgentDriver) -> None:
    agent.open(search_of(bad.Harmless(), bad.slot_pid))
    assert agent.wait(Pull, lambda pull: pull.round == agent.round).count == 1


def test_a_blob_in_a_file_of_this_machine_is_read_from_there(
    agent: AgentDriver, tmp_path: Path
) -> None:
    agent.open(search_of(bad.Harmless(), bad.slot_pid), data=samples(10))
    from skygrid.worker.wire.blobs import Blob

    X, y = samples(40)
    data = Blob(SearchData(X=X, y=y, fit_params={}, score_params={}))
    path = tmp_path / "blob"
    path.write_bytes(b"".join(bytes(part) for _, part in data.chunks()))
    search = agent.send_blob(search_of(bad.Harmless(), bad.slot_pid))
    everything = np.arange(40)
    plan = agent.send_blob(RoundTasks(candidates=[{}], splits=[(everything, everything)]))
    agent.send(BlobAt(name="by-path", size=data.size, path=str(path)))
    agent.round += 1
    agent._start = len(agent.heard)
    agent.send(OpenRound(round=agent.round, data="by-path", search=search, plan=plan))
    (result,) = agent.run(0)
    assert result.n_test_samples == 40


def test_unseeded_estimators_differ_between_slots(pair: AgentDriver) -> None:
    pair.open(search_of(bad.Random(), bad.own_score), n_splits=40)
    scores = pair.scores(*[(0, split) for split in range(40)])
    assert len(set(scores)) == 40


def test_warnings_come_with_class_text_and_number(agent: AgentDriver) -> None:
    agent.open(search_of(bad.Warning_(), bad.slot_pid))
    (result,) = agent.run(0)
    assert [(note.category, note.message) for note in result.warnings] == [
        ("builtins:RuntimeWarning", "three times")
    ] * 3


def test_warning_filters_of_the_driver_reach_the_slots(agent: AgentDriver) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        rules = rules_now()
    agent.open(search_of(bad.Warning_(), bad.slot_pid, warning_rules=rules))
    (result,) = agent.run(0)
    assert result.warnings == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        rules = rules_now()
    agent.open(search_of(bad.Warning_(), bad.slot_pid, warning_rules=rules))
    (result,) = agent.run(0)
    assert "RuntimeWarning: three times" in result.fit_error


def test_settings_of_scikit_learn_reach_the_slots(agent: AgentDriver) -> None:
    import sklearn

    with sklearn.config_context(working_memory=77):
        search = search_of(bad.Harmless(), bad.sklearn_setting)
    agent.open(search)
    assert agent.scores(0) == [77.0]


# ---- leases that are taken back -----------------------------------------------------------------


def test_recall_returns_leases_that_have_not_started(agent: AgentDriver, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    agent.open(search_of(bad.WaitingOnce(path=str(path)), bad.slot_pid))
    first, *others = agent.grant(*[0] * 6)
    agent.wait(Heartbeat, is_running(first))
    agent.send(Recall(count=3))
    assert len(agent.wait(Returned).leases) == 3
    agent.send(Recall(count=100))
    agent.wait_for(lambda: len(agent.since_open(Returned)) == 2, "the second answer")
    returned = [lease for message in agent.since_open(Returned) for lease in message.leases]
    assert sorted(returned) == others
    agent.send(Abandon(leases=[first]))
    assert agent.run(0)[0].status == "scored"


def test_abandoned_leases_are_neither_finished_nor_reported(
    agent: AgentDriver, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    agent.open(search_of(bad.WaitingOnce(path=str(path)), bad.slot_pid))
    started, waiting, wanted = agent.grant(0, 0, 0)
    (pid,) = pids_in(path)
    agent.wait(Heartbeat, is_running(started))
    agent.send(Abandon(leases=[started, waiting]))
    agent.ends([wanted])
    wait_gone([pid])
    agent.fence()
    assert agent.accounts().keys() == {wanted}


def test_leases_abandoned_at_any_moment_leave_the_others_alone(agent: AgentDriver) -> None:
    agent.open(search_of(bad.Harmless(), bad.slot_pid))
    wanted = []
    for _ in range(40):
        unwanted, kept = agent.grant(0, 0)
        wanted.append(kept)
        agent.send(Abandon(leases=[unwanted]))
    assert {end.status for end in agent.ends(wanted)} == {"scored"}


@pytest.mark.parametrize("disturb", ["nothing", "abandon", "recall"])
def test_a_lease_alone_runs_alone(pair: AgentDriver, tmp_path: Path, disturb: str) -> None:
    path = tmp_path / "times"
    pair.open(search_of(bad.Timing(path=str(path)), bad.slot_pid), [{"a": "other"}, {"a": "alone"}])
    leases = pair.grant(*[0] * 6)
    alone = pair.grant(1, 1, alone=True)
    leases += pair.grant(*[0] * 4)
    if disturb == "abandon":
        dropped = [leases.pop(), alone.pop()]
        pair.send(Abandon(leases=dropped))
    elif disturb == "recall":
        pair.send(Recall(count=3))
    ends = pair.ends(leases + alone)
    assert sum(end == "returned" for end in ends) <= 3
    pair.run(0, 0)
    spans = [(kind, float(begin), float(end)) for kind, begin, end in map(str.split, lines(path))]
    for kind, begin, end in spans:
        beside = [s for s in spans if s[1] < end and begin < s[2]]
        assert kind == "other" or len(beside) == 1, spans


def test_a_lease_alone_survives_a_recall_from_the_pipe(
    agent: AgentDriver,
) -> None:
    agent.open(search_of(bad.Harmless(), bad.slot_pid))
    for _ in range(30):
        (lease,) = agent.grant(0, alone=True)
        agent.send(Recall(count=5))
        agent.ends([lease])
    assert agent.run(0)[0].status == "scored"


# ---- slots that die -----------------------------------------------------------------------------


def test_a_slot_killed_in_mid_fit_is_reported_and_replaced(
    pair: AgentDriver, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    pair.open(search_of(bad.WaitingOnce(path=str(path)), bad.slot_pid))
    leases = pair.grant(*[0] * 20)
    (pid,) = pids_in(path)
    os.kill(pid, signal.SIGKILL)
    ends = pair.ends(leases)
    deaths = [end for end in ends if isinstance(end, SlotDied)]
    assert len(deaths) == 1
    assert (deaths[0].cause, deaths[0].detail) == ("signal", "SIGKILL")
    assert deaths[0].peak_bytes > 5 * MIB
    assert deaths[0].seconds >= 0
    assert {end.status for end in ends if end is not deaths[0]} == {"scored"}
    wait_until(lambda: len(running(pair.slot_pids())) == 2, "two slots to be there again")


def test_a_dead_slot_is_noticed_while_its_child_holds_its_pipe(
    fresh: AgentDriver, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    fresh.open(
        search_of(bad.WaitingWithChild(path=str(path)), bad.slot_pid),
        [{"culprit": True}, {"culprit": False}],
    )
    leases = fresh.grant(0, 1)
    pid, child = pids_in(path, 2)
    os.kill(pid, signal.SIGKILL)
    died, scored = fresh.ends(leases)
    assert died.detail == "SIGKILL"
    assert scored.status == "scored"
    wait_until(lambda: not running([child]), "the child of the fit to end")


def test_slots_killed_at_any_moment_lose_and_double_no_lease(pair: AgentDriver) -> None:
    pair.open(search_of(bad.Harmless(), bad.slot_pid), n_splits=1)
    leases: list[int] = []
    rounds = 60 if pair.start_method == "fork" else 6
    for _ in range(rounds):
        more = pair.grant(*[0] * 60)
        leases += more
        target = leases[-40]
        pair.wait_for(lambda target=target: target in pair.accounts(), "some results")
        pids = [p for p in pair.slot_pids() if p in running([p])]
        if pids:
            kill(pids[0])
    ends = pair.ends(leases)
    pair.fence()
    assert {len(found) for found in pair.accounts().values()} == {1}
    died = sum(isinstance(end, SlotDied) for end in ends)
    assert died <= rounds
    assert all(end.status == "scored" for end in ends if isinstance(end, FitResult))


def test_a_lease_lost_between_its_taking_and_its_report_is_started_again(
    agent: AgentDriver,
) -> None:
    agent.open(search_of(bad.Harmless(), bad.slot_pid))
    for _ in range(20 if agent.start_method == "fork" else 3):
        (pid,) = {int(score) for score in agent.scores(0)}
        os.kill(pid, signal.SIGSTOP)
        leases = agent.grant(0, 0)
        agent.fence()
        os.kill(pid, signal.SIGKILL)
        assert len(agent.ends(leases)) == 2


@pytest.mark.parametrize(
    ("estimator", "cause", "detail"),
    [
        (bad.Segfaulting(), "signal", "SIGSEGV"),
        (bad.Leaving(), "exit", "exit code 3"),
    ],
)
def test_an_estimator_that_kills_its_slot_affects_no_other_fit(
    agent: AgentDriver, estimator: Any, cause: str, detail: str
) -> None:
    agent.open(search_of(estimator, bad.slot_pid), [{"culprit": False}, {"culprit": True}])
    before, died, after = agent.run(0, 1, 0)
    assert (died.cause, died.detail) == (cause, detail)
    assert (before.status, after.status) == ("scored", "scored")


def test_an_estimator_that_closes_its_slots_pipe_is_ended(agent: AgentDriver) -> None:
    search = search_of(bad.ClosingDescriptors(), bad.slot_pid)
    agent.open(search, [{"culprit": False}, {"culprit": True}])
    before, died, after = agent.run(0, 1, 0)
    # Either the agent notices first and ends the slot, or the slot fails to report.
    assert died.cause in {"signal", "exit"}
    assert (before.status, after.status) == ("scored", "scored")


def test_a_fit_above_the_memory_limit_is_killed(fresh: AgentDriver) -> None:
    fresh.setup(memory_limit_bytes=400 * MIB)
    fresh.open(search_of(bad.Hoarding(), bad.slot_pid), [{"culprit": True}, {"culprit": False}])
    died, scored = fresh.run(0, 1)
    assert died.cause == "memory"
    assert "GiB" in died.detail
    assert died.peak_bytes > 300 * MIB
    assert scored.status == "scored"


@pytest.mark.parametrize("estimator", [bad.Looping(), bad.HoldingTheGil()])
def test_a_fit_that_never_returns_is_killed_at_its_time_limit(
    agent: AgentDriver, estimator: Any
) -> None:
    agent.setup(fit_timeout_seconds=1.5)
    agent.open(search_of(estimator, bad.slot_pid), [{"culprit": True}, {"culprit": False}])
    died, scored = agent.run(0, 1)
    assert (died.cause, died.detail) == ("timeout", "timed out after 1.5 s")
    assert died.seconds >= 1.5
    assert scored.status == "scored"


# ---- fits with unusual results ------------------------------------------------------------------


@pytest.mark.parametrize("scorer", [bad.no_number, bad.odd_number])
def test_a_score_that_is_no_number_is_reported_as_raised(agent: AgentDriver, scorer: Any) -> None:
    agent.open(search_of(bad.Harmless(), scorer))
    (result,) = agent.run(0)
    assert result.status == "raised"
    assert "number" in result.fit_error


def test_an_error_of_any_length_is_reported(agent: AgentDriver) -> None:
    agent.open(search_of(bad.RaisingAtLength(), bad.slot_pid))
    (result,) = agent.run(0)
    assert result.status == "failed"
    assert "ValueError: begin" in result.fit_error
    assert result.fit_error.endswith("the end\n")
    assert len(result.fit_error) < 100_000


def test_many_long_errors_are_reported_together(pair: AgentDriver) -> None:
    pair.open(search_of(bad.RaisingAtSomeLength(), bad.slot_pid))
    assert {result.status for result in pair.run(*[0] * 300)} == {"failed"}


def test_an_error_that_is_not_utf8_is_reported(agent: AgentDriver) -> None:
    agent.open(search_of(bad.RaisingOddText(), bad.slot_pid))
    (result,) = agent.run(0)
    assert result.status == "failed"
    assert "file \\udcff" in result.fit_error


def test_an_estimator_that_exits_by_exception_has_raised(agent: AgentDriver) -> None:
    agent.open(search_of(bad.Exiting(), bad.slot_pid))
    (result,) = agent.run(0)
    (raised,) = result.exception
    assert raised.classes[0] == ClassName("builtins", "SystemExit")
    assert raised.args == ("had enough",)


def test_prints_of_fits_go_to_the_log(agent: AgentDriver) -> None:
    agent.open(search_of(bad.Flooding(), bad.slot_pid))
    agent.scores(0, 0)
    assert b"x" * 1000 in agent.log
    assert b"y" * 1000 in agent.log


def test_a_fit_that_reads_its_input_gets_none(agent: AgentDriver) -> None:
    agent.open(search_of(bad.ReadingInput(), bad.slot_pid, error_score="raise"))
    agent.scores(0)


def test_a_fit_that_writes_into_its_slots_pipe_loses_its_slot_only(pair: AgentDriver) -> None:
    search = search_of(bad.ScribblingOnPipes(), bad.slot_pid)
    pair.open(search, [{"culprit": True}, {"culprit": False}])
    died, *scored = pair.run(0, *[1] * 10)
    assert died.cause == "signal"
    assert {result.status for result in scored} == {"scored"}


def test_joblib_in_a_fit_starts_no_processes(agent: AgentDriver) -> None:
    search = search_of(bad.UsingJoblib(), _pids_of_joblib, error_score="raise")
    agent.open(search)
    before = agent.slot_pids()
    (score,) = agent.scores(0)
    assert score == 0.0
    assert agent.slot_pids() == before


def _pids_of_joblib(estimator: Any, X: Any, y: Any) -> float:
    import os as system

    return float(len(estimator.pids_ - {system.getpid()}))


def test_processes_that_a_fit_started_end_with_the_round(
    agent: AgentDriver, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    agent.open(search_of(bad.StartingProcesses(path=str(path)), bad.slot_pid))
    agent.scores(0)
    (pid,) = pids_in(path)
    agent.open(search_of(bad.Harmless(), bad.slot_pid))
    wait_until(lambda: not running([pid]), "the process to end")


@pytest.mark.parametrize(("slots", "vcpus", "threads"), [(2, 2, 1), (1, 2, 2), (2, 1, 1)])
def test_threads_of_a_slot_are_its_share_of_the_processors(
    start_method: str, slots: int, vcpus: int, threads: int
) -> None:
    with leaving_nothing(), AgentDriver(start_method, slots=slots, vcpus=vcpus) as agent:
        agent.setup()
        agent.open(search_of(bad.Harmless(), bad.openmp_threads))
        (score,) = agent.scores(0)
        counts = {name: int(number.text, 16) for name, number in score.items()}
        assert counts["libraries"] >= 2
        assert (counts["least"], counts["most"]) == (threads, threads)


# ---- ends of agents -----------------------------------------------------------------------------


def test_stop_without_grace_ends_at_once(fresh: AgentDriver, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    fresh.open(search_of(bad.Waiting(path=str(path)), bad.slot_pid))
    first, second = fresh.grant(0, 0)
    fresh.wait(Heartbeat, is_running(first))
    fresh.send(Stop(grace_seconds=0.0))
    assert fresh.wait_end() == 0
    assert isinstance(fresh.heard[-1], Bye)
    assert fresh.accounts() == {second: ["returned"]}


def test_stop_with_grace_waits_for_fits_that_run(fresh: AgentDriver, tmp_path: Path) -> None:
    path = tmp_path / "times"
    fresh.open(search_of(bad.Timing(path=str(path)), bad.slot_pid))
    leases = fresh.grant(*[0] * 20)
    fresh.wait(Heartbeat, lambda beat: bool(beat.running))
    fresh.send(Stop(grace_seconds=60.0))
    assert fresh.wait_end() == 0
    assert isinstance(fresh.heard[-1], Bye)
    ends = fresh.ends(leases)
    assert "returned" in ends
    assert sum(isinstance(end, FitResult) for end in ends) == len(lines(path))


def test_stop_before_any_round_ends_an_agent(fresh: AgentDriver) -> None:
    fresh.send(Stop(grace_seconds=60.0))
    assert fresh.wait_end() == 0
    assert isinstance(fresh.heard[-1], Bye)


def test_an_agent_ends_when_its_input_does(fresh: AgentDriver, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    fresh.open(search_of(bad.Waiting(path=str(path)), bad.slot_pid))
    fresh.grant(0)
    pids_in(path)
    slots = fresh.slot_pids()
    fresh.hang_up()
    assert fresh.wait_end() == 0
    wait_gone(slots)


def test_an_agent_that_is_killed_takes_its_slots_along(fresh: AgentDriver, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    fresh.open(search_of(bad.Waiting(path=str(path)), bad.slot_pid))
    fresh.grant(0)
    pids_in(path)
    slots = fresh.slot_pids()
    assert slots
    os.kill(fresh.pid, signal.SIGKILL)
    assert fresh.wait_end() == -signal.SIGKILL
    wait_gone(slots)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x01\x00\x00\x00\x00\x00\x00\x00\x90"])
def test_garbage_ends_an_agent(fresh: AgentDriver, garbage: bytes) -> None:
    fresh.open(search_of(bad.Harmless(), bad.slot_pid))
    slots = fresh.slot_pids()
    fresh.send_bytes(garbage)
    assert fresh.wait_end() == 1
    wait_gone(slots)
    assert b"broke the protocol" in fresh.log
    assert b"Traceback" not in fresh.log


@pytest.mark.parametrize("estimator", [bad.Unloadable(), bad.ExitingAtLoad()])
def test_a_search_that_does_not_load_is_refused_with_the_reason(
    fresh: AgentDriver, estimator: Any
) -> None:
    fresh.send_round(search_of(estimator, bad.slot_pid))
    reason = fresh.wait(Refusal).reason
    assert "cannot be loaded" in reason
    expected = "does not load" if isinstance(estimator, bad.Unloadable) else "not for import"
    assert expected in reason
    assert fresh.wait_end() == 0


@pytest.mark.parametrize("damage", ["content", "order", "missing"])
def test_a_blob_that_arrives_broken_is_refused(fresh: AgentDriver, damage: str) -> None:
    if damage == "content":
        fresh.send(BlobChunk(digest="ab" * 32, size=3, offset=0, data=b"abc"))
    elif damage == "order":
        fresh.send(BlobChunk(digest="ab" * 32, size=6, offset=3, data=b"abc"))
    else:
        fresh.send(OpenRound(round=0, data="a", search="b", plan="c"))
    expected = {"content": "arrived broken", "order": "offset 0", "missing": "has not arrived"}
    assert expected[damage] in fresh.wait(Refusal).reason
    assert fresh.wait_end() == 0


def test_slots_that_die_before_their_first_fit_end_in_a_refusal(fresh: AgentDriver) -> None:
    fresh.open(search_of(bad.Harmless(), bad.slot_pid))

    def refused() -> bool:
        for pid in fresh.slot_pids():
            kill(pid)
        return bool(fresh.since_open(Refusal)) or not fresh.alive

    wait_until(refused, "the agent to give up")
    assert "before they run anything" in fresh.wait(Refusal).reason
    assert fresh.since_open(AgentLog)


DRIVER = """
import signal, sys
from tests import misbehaving as bad
from tests.agent_driver import AgentDriver, search_of
from skygrid.worker.wire.messages.from_agent import Heartbeat
agent = AgentDriver(sys.argv[1])
agent.setup()
agent.open(search_of(bad.WaitingWithChild(path=sys.argv[2]), bad.slot_pid))
agent.grant(0)
agent.wait(Heartbeat, lambda beat: beat.running)
print(agent.pid, flush=True)
signal.pause()
"""


def test_an_agent_ends_when_its_driver_is_killed(
    start_method: str, tmp_path: Path, nothing_left: str
) -> None:
    path = tmp_path / "pid"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, start_method, path], stdout=subprocess.PIPE, cwd=ROOT
    )
    with driver:
        agent = int(driver.stdout.readline())
        pids_in(path, 2)
        family = children(agent)
        assert len(family) >= 2
        driver.kill()
    wait_until(lambda: not running({agent, *family}), "agent, slots and their children to end")


def test_blobs_leave_nothing_behind(start_method: str, tmp_path: Path) -> None:
    folders = [folder for folder in (Path("/dev/shm"), tmp_path) if folder.is_dir()]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    before = {folder: set(folder.iterdir()) for folder in folders}
    with leaving_nothing() as mark, AgentDriver(start_method, env=env) as agent:
        agent.setup()
        agent.open(search_of(bad.Harmless(), bad.slot_pid), data=samples(100_000))
        agent.scores(0)
        mine = {f.path for p in (agent.pid, *agent.slot_pids()) for f in _named_files(p)}
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait_end()
    assert mark
    assert not {path for path in mine if path.startswith((str(tmp_path), "/dev/shm"))}
    assert set(tmp_path.iterdir()) == before[tmp_path]


def _named_files(pid: int) -> list[Any]:
    return [file for file in psutil.Process(pid).open_files() if "(deleted)" not in file.path]


def test_an_agent_without_a_driver_ends_where_its_channel_does_not() -> None:
    """With --orphan-after a silent driver ends the agent, although its input stays open."""
    command = [sys.executable, "-P", "-m", "skygrid.worker", "--orphan-after", "0.2"]
    with leaving_nothing():
        agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert agent.stdin is not None
        try:
            assert agent.wait(WAIT_SECONDS) == ORPHANED_EXIT
        finally:
            agent.kill()
            agent.stdin.close()


def test_a_sign_of_life_has_no_other_effect(agent: AgentDriver) -> None:
    """`Alive` is accepted at any time and answered by nothing."""
    agent.send(Alive())
    agent.open(search_of(bad.Harmless(), bad.own_score))
    agent.send(Alive())
    (lease,) = agent.grant(0)
    (end,) = agent.ends([lease])
    assert isinstance(end, FitResult)
