"""A second run begins on its hosts while its search is still being loaded here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.command import SLOW_SEARCH
from tests.ssh_runs import SHARED, Bench
from tests.sshd import SshBed, SshNode, ssh_bed

__all__ = ["ssh_bed"]

WAITING_SEARCH = """
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
AGENTS = Path({home!r}) / ".cache" / "skygrid" / "agents"


def wait_for_agents(count):
    until = time.monotonic() + 30
    while len(list(AGENTS.glob("*/socket"))) != count:
        assert time.monotonic() < until, f"not {{count}} agents while the search is loaded"
        time.sleep(0.01)


if (HERE / "waits").exists():
    wait_for_agents(1)
if (HERE / "fails").exists():
    raise RuntimeError("no data today")
"""
"""Loads only when an agent is there already, if it is told so."""

FITS = SLOW_SEARCH.replace(
    "        time.sleep(self.seconds)\n",
    '        with (HERE / "prefixes.txt").open("a") as file:\n'
    '            file.write(f"{sys.prefix}\\n")\n',
)


@pytest.fixture
def node(bench: Bench) -> SshNode:
    """A host of the bench on which the search was run once."""
    node = bench.node()
    source = WAITING_SEARCH.format(home=str(node.home)) + FITS
    (bench.folder / "search.py").write_text(source)
    bench.ended_well(bench.start())
    for path in ("prefixes.txt", "ledger.txt"):
        (bench.folder / path).unlink()
    (bench.folder / "skygrid-runs" / "r").rename(bench.folder / "first")
    return node


@pytest.fixture
def bench(tmp_path: Path, ssh_bed: SshBed) -> Bench:
    """A folder for runs, and no node yet."""
    return Bench(tmp_path, ssh_bed)


def memory(bench: Bench) -> Path:
    """Where this user's machine keeps what search files needed."""
    return bench.bed.folder / ".cache" / "skygrid" / "environments.json"


def remember(bench: Bench, key: str) -> str:
    """Have it that the search needed this environment; returns what it needs indeed."""
    document = json.loads(memory(bench).read_text())
    ((name, needed),) = document["environments"].items()
    document["environments"][name] = key
    memory(bench).write_text(json.dumps(document))
    return str(needed)


def run_waiting(bench: Bench) -> set[str]:
    """Run the search, which loads when an agent is there; the environments of its fits."""
    waits = bench.folder / "waits"
    waits.touch()
    command = bench.started(1)
    waits.unlink()
    bench.ended_well(command)
    return {Path(line).name for line in (bench.folder / "prefixes.txt").read_text().splitlines()}


def test_the_agents_of_a_second_run_start_while_the_search_is_loaded(
    bench: Bench, node: SshNode
) -> None:
    """An agent is on its host before the search is loaded, and the answer is scikit-learn's own."""
    system = os.uname()
    needed = remember(bench, json.loads(memory(bench).read_text())["environments"].popitem()[1])
    environments = run_waiting(bench)
    assert f"{needed}-{system.sysname}-{system.machine}" in environments


def test_an_agent_in_the_wrong_environment_is_replaced_before_any_fit(
    bench: Bench, node: SshNode
) -> None:
    """Where the search needs another environment than last time, no fit runs in the old one."""
    system = os.uname()
    needed = remember(bench, "0123456789abcdef0123")
    place = SHARED / "envs"
    wrong = place / f"0123456789abcdef0123-{system.sysname}-{system.machine}"
    wrong.unlink(missing_ok=True)
    wrong.symlink_to(place / f"{needed}-{system.sysname}-{system.machine}")
    try:
        environments = run_waiting(bench)
    finally:
        wrong.unlink()
    assert wrong.name not in environments
    assert remember(bench, needed) == needed, "the next guess is better"


def test_an_environment_that_is_gone_is_made_again(bench: Bench, node: SshNode) -> None:
    """A guess at what a host has not got costs nothing but a question."""
    remember(bench, "0123456789abcdef0123")
    bench.ended_well(bench.start())


def test_a_search_that_does_not_load_leaves_no_agent(bench: Bench, node: SshNode) -> None:
    """When the search turns out bad, exit 2 comes after the agent that was started is ended."""
    for name in ("waits", "fails"):
        (bench.folder / name).touch()
    err = bench.ended_with(2, bench.start())
    assert "no data today" in err
    assert not list((node.home / ".cache" / "skygrid" / "agents").iterdir())
    bench.bed.wait_clean()


def test_a_memory_that_cannot_be_read_or_written_is_done_without(bench: Bench) -> None:
    """The cache folder is no part of a run: without it the run is slower to begin, that is all."""
    bench.node()
    memory(bench).parent.mkdir(parents=True)
    memory(bench).mkdir()
    bench.ended_well(bench.start())
