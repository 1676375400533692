"""Faults that a run on SSH nodes survives. Each ends with scikit-learn's answer, nothing left."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import GATED_SEARCH, SLOW_SEARCH, wait_for
from tests.proxy import FaultProxy
from tests.ssh_runs import Bench, agents
from tests.sshd import SshBed, ssh_bed

__all__ = ["ssh_bed"]

pytestmark = pytest.mark.faults

LONG_SEARCH = SLOW_SEARCH.replace("range(-5, 5)", "range(-25, 25)")
"""A search of 50 candidates on 4 splits, with fits of 0.1 s."""


@pytest.fixture
def bench(tmp_path: Path, ssh_bed: SshBed) -> Bench:
    """Set up a search of 200 fits, and no node."""
    return Bench(tmp_path, ssh_bed, LONG_SEARCH)


def behind_a_proxy(bench: Bench) -> tuple[FaultProxy, str]:
    """Add a node behind a proxy; return the proxy and the node's alias."""
    node = bench.node(host=False)
    proxy = FaultProxy(node.address, node.port)
    proxy.__enter__()
    alias = bench.bed.add(node, address=proxy.address, port=proxy.port)
    bench.hosts.append(alias)
    return proxy, alias


def test_a_connection_that_is_cut_costs_nothing(bench: Bench) -> None:
    """A connection that is cut is restored, and no fit is repeated."""
    proxy, alias = behind_a_proxy(bench)
    with proxy:
        command = bench.started(20)
        for fits in (40, 70):
            before = proxy.connections
            proxy.cut()
            wait_for(lambda before=before: proxy.connections > before, "a new connection")
            bench.wait_for_fits(command, fits)
        err = bench.ended_well(command)
    assert f"{alias}: reconnecting" in err
    assert bench.attempts() == {1: 200}
    assert bench.fitted == 201, "200 fits and the refit"


def test_a_flipped_bit_costs_only_the_connection(bench: Bench) -> None:
    """A flipped bit in either direction costs only the connection."""
    proxy, _ = behind_a_proxy(bench)
    with proxy:
        command = bench.started(20)
        for direction in ("up", "down"):
            before = proxy.connections
            proxy.corrupt(direction, 100)
            wait_for(lambda before=before: proxy.connections > before, "a new connection")
        bench.ended_well(command)
    assert bench.attempts() == {1: 200}


def test_a_connection_that_hangs_is_made_anew(bench: Bench) -> None:
    """A connection to a stopped sshd is given up and restored when sshd continues."""
    node = bench.node()
    command = bench.started(20)
    node.stop()
    try:
        # The kernel accepts the new connection for the stopped sshd.
        wait_for(lambda: "reconnecting" in bench.log("node1"), "the connection to be given up")
    finally:
        node.cont()
    bench.ended_well(command)
    assert bench.attempts() == {1: 200}


def test_an_agent_that_is_killed_is_started_again(bench: Bench) -> None:
    """kill -9 of a node's agent costs only its running fits; a new agent continues."""
    nodes = [bench.node(), bench.node()]
    command = bench.started(20)
    (agent,) = agents(nodes[0])
    os.kill(agent, signal.SIGKILL)
    wait_for(lambda: agents(nodes[0]) not in ([], [agent]), "a new agent")
    bench.ended_well(command)
    assert set(bench.nodes()) == {"node1", "node2"}


def test_a_run_continues_without_a_lost_node(bench: Bench) -> None:
    """The run ends well on the remaining nodes and names the lost one."""
    nodes = [bench.node(), bench.node()]
    command = bench.started(20)
    nodes[0].kill_everything()
    err = bench.ended_well(command)
    assert sum(bench.nodes().values()) == 200
    assert "node1" in err


def test_without_any_node_left_the_run_can_be_resumed(tmp_path: Path, ssh_bed: SshBed) -> None:
    """Loss of all nodes exits with 3; with a node back, resume fits what is missing."""
    bench = Bench(tmp_path, ssh_bed, LONG_SEARCH, lost_after=2.0, connect_timeout=2.0)
    node = bench.node()
    command = bench.started(20)
    node.kill_everything()
    err = bench.ended_with(3, command)
    assert "node1" in err
    assert "skygrid resume" in err
    node.restart()
    before = bench.count_fits()
    bench.ended_well(bench.start(command="resume"))
    # Fits that were running at the kill are repeated.
    assert bench.fitted - before <= 200 - 20 + 1


def test_resume_continues_with_agents_that_still_run(bench: Bench) -> None:
    """After kill -9 of the driver, resume continues with the same agents, without preparation."""
    nodes = [bench.node(), bench.node()]
    command = bench.started(20)
    before = [agents(node) for node in nodes]
    command.signal(signal.SIGKILL)
    command.end()
    assert all(before)
    resumed = bench.start(command="resume")
    bench.wait_for_fits(resumed, 60)
    after = [agents(node) for node in nodes]
    err = bench.ended_well(resumed)
    assert after == before
    assert "preparing" not in err


def test_a_second_driver_of_a_running_run_is_refused(bench: Bench) -> None:
    """`resume` of a running run is refused and takes no node from it."""
    (bench.folder / "search.py").write_text(GATED_SEARCH)
    bench.node()
    command = bench.started(1)
    code, _, err = bench.start(command="resume").end()
    assert code != 0
    assert "is being written by process" in err
    (bench.folder / "go").touch()
    bench.ended_well(command)
    assert bench.attempts() == {1: 40}


def test_agents_without_a_driver_end_themselves(tmp_path: Path, ssh_bed: SshBed) -> None:
    """Agents without a driver for `orphan_after` end themselves and remove their files."""
    bench = Bench(tmp_path, ssh_bed, LONG_SEARCH, orphan_after=3.0)
    node = bench.node()
    command = bench.started(10)
    command.signal(signal.SIGKILL)
    command.end()
    node.wait_clean()
    assert not list((node.home / ".cache" / "skygrid" / "agents").iterdir())


def test_ctrl_c_ends_the_nodes(bench: Bench) -> None:
    """The first Ctrl-C leaves a run that can be resumed and nothing on any node."""
    bench.node()
    bench.node()
    command = bench.started(20)
    command.signal(signal.SIGINT)
    err = bench.ended_with(130, command)
    assert "skygrid resume" in err
    bench.bed.wait_clean()


def test_a_node_ten_times_slower_does_its_share(bench: Bench) -> None:
    """A slow node does a smaller share, and the answer is the same."""
    search = LONG_SEARCH.replace(
        "time.sleep(self.seconds)",
        'time.sleep(self.seconds * float(os.environ.get("SLOWNESS", "1")))',
    )
    (bench.folder / "search.py").write_text(search)
    bench.node()
    bench.node(environment={"SLOWNESS": "10"})
    bench.ended_well(bench.start())
    shares = bench.nodes()
    # On a busy machine the ratio is below ten; with equal shares it would be one.
    assert shares["node1"] > 2 * shares["node2"] > 0


Prepare = Callable[[Bench], None]


def unknown_key(bench: Bench) -> None:
    bench.node(known=False)


def changed_key(bench: Bench) -> None:
    bench.node().new_host_key()


def revoked_key(bench: Bench) -> None:
    node = bench.node()
    kind, key = node.host_key.split()[:2]
    bench.bed.know(f"@revoked * {kind} {key}")


def refused_key(bench: Bench) -> None:
    bench.node().refuse_keys()


def nobody_there(bench: Bench) -> None:
    bench.node().kill_everything()


def no_such_name(bench: Bench) -> None:
    bench.hosts.append("nowhere.invalid")


def dead_jump(bench: Bench) -> None:
    gate = bench.node(host=False, alias="gate")
    bench.node(jump="gate")
    gate.kill_everything()


def no_python(bench: Bench) -> None:
    tools = ("sh", "uname", "mkdir", "mktemp", "tar", "gzip", "rm", "cat", "df", "awk", "date")
    bench.node(prepared=False, only_tools=tools)


def full_disk(bench: Bench) -> None:
    bench.node(prepared=False, home_bytes=8 * 2**20)


TROUBLE = [
    (unknown_key, ["host key of", "is not known", "accept it with: ssh "]),
    (changed_key, ["host key of", "has changed", "ssh-keygen"]),
    (revoked_key, ["host key of", "is revoked", "known_hosts"]),
    (refused_key, ["refused", "ssh-copy-id"]),
    (nobody_there, ["refuses connections: is sshd running there"]),
    (dead_jump, ["jump host gate", "refuses connections"]),
    (no_such_name, ["there is no host by the name nowhere.invalid"]),
    (no_python, ["no uv", "install it there"]),
    (full_disk, ["disk"]),
]


@pytest.mark.parametrize(("make", "words"), TROUBLE, ids=lambda one: getattr(one, "__name__", ""))
def test_a_host_that_cannot_be_used_is_explained(
    tmp_path: Path, ssh_bed: SshBed, make: Prepare, words: list[str]
) -> None:
    """A host that cannot be used ends the run before any fit, with an explanation."""
    bench = Bench(tmp_path, ssh_bed, LONG_SEARCH, connect_timeout=2.0)
    bench.node()
    make(bench)
    err = bench.ended_with(3, bench.start())
    for word in words:
        assert word in err
    ssh_bed.wait_clean()


def test_the_doctor_reports_all_problems_at_once(tmp_path: Path, ssh_bed: SshBed) -> None:
    """`skygrid doctor` tries each host, explains each problem and changes nothing there."""
    bench = Bench(tmp_path, ssh_bed)
    well = bench.node(prepared=False)
    tried = [one for one in TROUBLE if one[0] is not no_python]
    for make, _ in tried:
        make(bench)
    code, out, err = bench.doctor().end()
    assert code == 3
    document = json.loads(out)
    assert document["format"] == 2
    here, first, *others = document["places"]
    assert (here["name"], here["problems"]) == ("this machine", [])
    assert (first["name"], first["problems"]) == ("node1", [])
    for (make, words), place in zip(tried, others, strict=True):
        (problem,) = place["problems"]
        assert all(word in problem for word in words), (make.__name__, problem)
        assert place["name"] in err
    assert not (well.home / ".cache").exists()


def test_a_host_that_cannot_be_used_is_left_out_if_allowed(tmp_path: Path, ssh_bed: SshBed) -> None:
    """With min_nodes the run continues without a refused host, and says so."""
    bench = Bench(tmp_path, ssh_bed, LONG_SEARCH, connect_timeout=2.0)
    (bench.folder / "search.py").write_text(GATED_SEARCH)
    bench.extra = "min_nodes = 1"
    bench.node()
    bench.node().refuse_keys()
    command = bench.start()
    command.wait_for_line("node2 is lost")
    (bench.folder / "go").touch()
    bench.ended_well(command)
    assert set(bench.nodes()) == {"node1"}


ROOM_FOR_NO_DATA = 8 * 2**20
LARGE_DATA = GATED_SEARCH + "dataset = (np.hstack([X, rng.randn(60, 40_000)]), y)\n"
"""A search with 20 MB of data."""


@pytest.mark.parametrize("min_nodes", [1, 2])
def test_a_node_without_room_for_the_data_is_left_out_or_ends_the_run(
    tmp_path: Path, ssh_bed: SshBed, min_nodes: int
) -> None:
    """A node without disk space for the data is left out if min_nodes allows, or ends the run."""
    bench = Bench(tmp_path, ssh_bed, LARGE_DATA)
    bench.extra = f"min_nodes = {min_nodes}"
    bench.node()
    bench.node(home_bytes=ROOM_FOR_NO_DATA)
    command = bench.start()
    if min_nodes == 1:
        err = command.wait_for_line("node2 is lost")
        (bench.folder / "go").touch()
        bench.ended_well(command)
        assert set(bench.nodes()) == {"node1"}
    else:
        err = bench.ended_with(3, command)
        assert "1 of 2 nodes can be had" in err
        assert not bench.attempts()
        ssh_bed.wait_clean()
    assert "node2" in err
    assert "room" in err or "disk" in err


def test_modules_beside_the_search_file_reach_nodes(bench: Bench) -> None:
    """A module that is imported only inside `fit` is found on the node."""
    search = SLOW_SEARCH.replace("time.sleep(self.seconds)", "import pace; pace.wait(self.seconds)")
    (bench.folder / "search.py").write_text(search)
    neighbour = bench.folder / "pace.py"
    neighbour.write_text("import time\n\ndef wait(seconds):\n    time.sleep(seconds)\n")
    bench.node()
    command = bench.start()
    bench.wait_for_fits(command, 1)
    bench.ended_well(command)
