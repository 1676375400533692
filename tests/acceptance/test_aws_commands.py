"""Money is spent only after consent, and every end of a run reports its cost."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.cloud_runs import LONG_SEARCH, CloudBench
from tests.command import Command, wait_for
from tests.terminal import Terminal

__all__ = ["cloud", "cloud_server"]

pytestmark = pytest.mark.cloud


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """Set up a search of 200 fits, long enough to be interrupted."""
    return CloudBench(tmp_path, cloud, LONG_SEARCH)


def command(bench: CloudBench, *arguments: str) -> tuple[int, str, str]:
    """Run a command of skygrid in the bench's folder to its end."""
    return Command(bench.folder, *arguments, env=bench.bed.environment()).end()


def ask(bench: CloudBench, *options: str) -> Terminal:
    """Start the search on a terminal and wait for the question."""
    # A fit on this machine creates the file first; the nodes' own user writes to it later.
    ledger = bench.folder / "ledger.txt"
    ledger.touch()
    ledger.chmod(0o666)
    arguments = ("run", "search.py", "--on", "aws", "--nodes", "2", "--concurrency", "2", *options)
    terminal = Terminal(bench.folder, *arguments, env=bench.bed.environment())
    terminal.wait_for("Start these nodes?")
    return terminal


def test_a_run_without_a_terminal_and_without_yes_starts_nothing(bench: CloudBench) -> None:
    """Without a terminal, a run without --yes ends with exit 2 and starts nothing."""
    code, _, err = command(bench, "run", "search.py", "--nodes", "2")
    assert code == 2
    assert "--yes" in err
    assert not bench.cloud.calls["ec2:RunInstances"]
    assert not (bench.folder / "skygrid-runs").exists()


def test_the_question_names_nodes_and_price_and_a_no_starts_nothing(bench: CloudBench) -> None:
    """The question is preceded by type, market, price and estimate, and "n" leaves no trace."""
    terminal = ask(bench)
    for said in ("2 nodes, 4 slots", "on-demand", "an hour", "one fit", "cost", "at most"):
        assert said in terminal.screen, said
    terminal.type("n")
    code, out = terminal.end()
    assert (code, out) == (130, "")
    assert "nothing was started" in terminal.screen
    assert not bench.cloud.calls["ec2:RunInstances"]
    assert not (bench.folder / "skygrid-runs").exists()


def test_yes_on_the_terminal_starts_the_nodes(tmp_path: Path, cloud: Cloud) -> None:
    """Answering "y" runs the search, and its result includes the cost."""
    bench = CloudBench(tmp_path, cloud)
    terminal = ask(bench, "--name", "r")
    terminal.type("y")
    code, out = terminal.end()
    assert code == 0, terminal.screen
    assert "0 nodes left, verified" in out
    assert "cost $" in terminal.screen
    assert bench.record()["bill"]["instances"] == 2


@pytest.mark.parametrize("arguments", [("check", "search.py"), ("run", "search.py", "--dry-run")])
def test_a_plan_shows_price_and_time_and_starts_nothing(
    bench: CloudBench, arguments: tuple[str, ...]
) -> None:
    """`check` and `--dry-run` estimate time and cost from a fit on this machine only."""
    options = ("--nodes", "3", "--concurrency", "4", "--json", "-q")
    code, out, err = command(bench, *arguments, *options)
    assert code == 0, err
    plan = json.loads(out)
    assert (plan["on"], plan["nodes"], plan["slots"], plan["fits"]) == ("aws", 3, 12, 200)
    assert plan["estimated_seconds"] > 0
    assert plan["estimated_dollars"] > 0
    assert plan["quote"]["dollars_per_hour"] > 0
    assert not bench.cloud.calls["ec2:RunInstances"]


def test_a_budget_holds_over_all_sessions(bench: CloudBench) -> None:
    """No node starts, as replacement or in a later session, that would exceed --max-cost (exit 4).

    The printed `resume` line has a limit with which the run ends.
    """
    # A node costs 0.30 dollars for its first minute, even if it ends sooner. Start and end of one
    # node are estimated at 1.20 dollars.
    bench.aws["price_per_hour"] = 18.0
    first = bench.started(5, "--nodes", "1", "--max-cost", "1.25")
    bench.cloud.client("ec2").terminate_instances(InstanceIds=[bench.instance("aws-1").id])
    err = bench.ended_with(4, first)
    assert "is not replaced: the limit of --max-cost, $1.25, is reached: $0." in err
    spent = bench.record()["bill"]["dollars"]
    for _ in range(2):
        err = bench.ended_with(4, bench.resume("--max-cost", "1.3"))
        assert f"${spent:.2f} are spent, and to start and end 1 x c7a.large costs about" in err
        assert "0 nodes left, verified" in err
    assert bench.cloud.calls["ec2:RunInstances"] == 1
    assert bench.record()["bill"]["dollars"] == spent
    hint = err.split("go on with: skygrid resume r ")[1].splitlines()[0]
    bench.ended_well(bench.resume(*hint.split()))


def test_a_budget_below_the_start_is_refused(bench: CloudBench) -> None:
    """A budget that start and teardown alone would exceed is refused before a launch."""
    bench.aws["price_per_hour"] = 18.0
    err = bench.ended_with(2, bench.start("--nodes", "2", "--max-cost", "0.5"))
    assert "before the first fit" in err
    assert not bench.cloud.calls["ec2:RunInstances"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_ends_the_nodes(bench: CloudBench, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM ends the nodes and prints the resume command and the cost."""
    running = bench.started(5, "--nodes", "2")
    running.signal(number)
    err = bench.ended_with(128 + number, running)
    assert "skygrid resume r" in err
    assert "0 nodes left, verified" in err
    bench.cloud.check_nothing_left()
    assert bench.record()["bill"]["verified"]


def test_a_signal_while_nodes_boot_ends_them(bench: CloudBench) -> None:
    """Ctrl-C before the first node is ready ends the nodes that were launched."""
    bench.cloud.faults.set(boot_seconds=300.0)
    starting = bench.start("--nodes", "2")
    wait_for(lambda: len(bench.instances("running")) == 2, "two instances")
    starting.signal(signal.SIGINT)
    err = bench.ended_with(130, starting)
    assert "0 nodes left, verified" in err
    bench.cloud.check_nothing_left()


def test_a_second_signal_stops_at_once_and_down_ends_the_nodes(bench: CloudBench) -> None:
    """A second Ctrl-C ends the driver at once and prints the command that ends the nodes."""
    bench.cloud.faults.set(shutdown_seconds=20.0)
    running = bench.started(5, "--nodes", "2")
    running.signal(signal.SIGINT)
    wait_for(lambda: bench.instances("shutting-down"), "the nodes to be ended")
    running.signal(signal.SIGINT)
    running.signal(signal.SIGINT)
    err = bench.ended_with(130, running)
    assert "skygrid down r" in err
    bench.cloud.faults.clear()
    code, _, err = command(bench, "down", "r")
    assert code == 0, err
    assert "0 nodes left, verified" in err
    assert not (bench.run_folder() / "aws").exists(), "keys are left behind"
    bench.cloud.check_nothing_left()


def test_nodes_and_down_work_on_another_machine(
    bench: CloudBench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`skygrid nodes` and `down` work on any machine that has the credentials."""
    running = bench.started(1, "--nodes", "2")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = bench.bed.environment()
    code, out, err = Command(elsewhere, "nodes", "--json", env=environment).end()
    assert code == 0, err
    found = json.loads(out)["nodes"]
    assert {(one["run"], one["node"], one["state"]) for one in found} == {
        ("r", "aws-1", "running"),
        ("r", "aws-2", "running"),
    }
    assert all(one["dollars"] > 0 and one["age_seconds"] >= 0 for one in found)
    running.process.kill()
    running.end()
    code, _, err = Command(elsewhere, "down", "r", env=environment).end()
    assert code == 0, err
    assert "2 nodes ended; 0 nodes left, verified" in err
    bench.cloud.check_nothing_left()


def test_orphans_are_the_nodes_of_drivers_that_died(bench: CloudBench) -> None:
    """`down --orphans` ends the nodes of a killed driver but not those of a running one."""
    living = bench.started(1, "--nodes", "1")
    code, _, err = command(bench, "down", "--orphans")
    assert code == 0, err
    assert bench.instances("running").keys() == {"aws-1"}
    living.process.kill()
    living.end()
    assert (bench.run_folder() / "aws").exists()
    code, _, err = command(bench, "down", "--orphans")
    assert code == 0, err
    bench.cloud.check_nothing_left()
    assert not (bench.run_folder() / "aws").exists(), "keys are left behind"


def test_down_all_requires_consent(bench: CloudBench) -> None:
    """`down --all` asks first, and without a terminal requires --yes."""
    running = bench.started(1, "--nodes", "1")
    running.process.kill()
    running.end()
    code, _, err = command(bench, "down", "--all")
    assert code == 2
    assert "--yes" in err
    assert bench.instances("running")
    code, _, err = command(bench, "down", "--all", "--yes")
    assert code == 0, err
    bench.cloud.check_nothing_left()


def test_a_run_whose_nodes_may_be_left_keeps_its_result_and_says_so(
    tmp_path: Path, cloud: Cloud
) -> None:
    """A search whose nodes cannot be ended is saved, exits with 3 and names `skygrid down`."""
    bench = CloudBench(tmp_path, cloud)
    running = bench.started(1, "--nodes", "1")
    cloud.faults.deny("ec2:TerminateInstances")
    err = bench.ended_with(3, running)
    assert "skygrid down" in err
    assert (bench.run_folder() / "search.pkl").exists()
    assert bench.record()["state"] == "complete"
    assert not bench.record()["bill"]["verified"]
    cloud.faults.clear()
    code, _, err = command(bench, "down", "r")
    assert code == 0, err
    cloud.check_nothing_left()
