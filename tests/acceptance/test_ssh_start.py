"""A second run begins on its hosts while its search is still being loaded here."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from skygrid.transports.ssh.node import FRESH_SECONDS
from tests.command import SLOW_SEARCH, wait_for
from tests.ssh_runs import SHARED, Bench
from tests.sshd import SshBed, SshNode, ssh_bed

__all__ = ["ssh_bed"]

WAITING_SEARCH = """
import sys
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
AGENTS = Path({home!r}) / ".cache" / "skygrid" / "agents"


def wait_for_agents(count):
    until = time.monotonic() + 30
    while len(list(AGENTS.glob("*/socket"))) != count:
        assert time.monotonic() < until, f"not {{count}} agents while the search is loaded"
        time.sleep(0.01)


def linger():
    (HERE / "lingers").unlink()  # a slot loads this as well
    (socket,) = AGENTS.glob("*/socket")
    first = socket.stat()
    while time.time() - first.st_ctime < {linger} and list(AGENTS.glob("*/socket")):
        time.sleep(0.1)
    (HERE / "waited.txt").write_text(str(first.st_ctime_ns))


if (HERE / "waits").exists():
    wait_for_agents(1)
if (HERE / "lingers").exists():
    linger()
if (HERE / "hangs").exists():
    (HERE / "hanging").touch()
    while True:
        time.sleep(0.1)
if (HERE / "fails").exists():
    raise RuntimeError("no data today")
"""
"""Loads only when an agent is there already, if it is told so; or when that is old; or never."""

LINGER_SECONDS = FRESH_SECONDS + 2.0
"""So long that the driver no longer trusts the connection that started the agent."""

FITS = SLOW_SEARCH.replace(
    "        time.sleep(self.seconds)\n",
    '        with (HERE / "prefixes.txt").open("a") as file:\n'
    '            file.write(f"{sys.prefix}\\n")\n'
    '        for socket in AGENTS.glob("*/socket"):\n'
    "            with suppress(FileNotFoundError):  # fitted here, while the agent there ends\n"
    '                (HERE / "fitted_by.txt").write_text(str(socket.stat().st_ctime_ns))\n',
)


@pytest.fixture
def node(bench: Bench) -> SshNode:
    """A host of the bench on which the search was run once."""
    node = bench.node()
    source = WAITING_SEARCH.format(home=str(node.home), linger=LINGER_SECONDS) + FITS
    (bench.folder / "search.py").write_text(source)
    bench.ended_well(bench.start())
    for path in ("prefixes.txt", "ledger.txt"):
        (bench.folder / path).unlink()
    (bench.folder / "skygrid-runs" / "r").rename(bench.folder / "first")
    return node


@pytest.fixture
def bench(tmp_path: Path, ssh_bed: SshBed, request: Any) -> Bench:
    """A folder for runs, and no node yet; its parameter, if any, is `orphan_after`."""
    return Bench(tmp_path, ssh_bed, orphan_after=getattr(request, "param", 30.0))


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


@pytest.mark.faults
@pytest.mark.parametrize(
    ("bench", "same"), [(30.0, True), (5.0, False)], indirect=["bench"], ids=["waits", "ends"]
)
def test_a_search_that_takes_long_to_load(bench: Bench, node: SshNode, same: bool) -> None:
    """An agent that has waited long is called anew; only one that has ended is replaced."""
    (bench.folder / "lingers").touch()
    run_waiting(bench)
    waited, fitted_by = (bench.folder / name for name in ("waited.txt", "fitted_by.txt"))
    assert (waited.read_text() == fitted_by.read_text()) == same


@pytest.mark.faults
@pytest.mark.parametrize("bench", [5.0], indirect=True, ids=[""])
def test_a_driver_killed_while_it_loads_leaves_nothing_for_long(
    bench: Bench, node: SshNode
) -> None:
    """The agent that waits for a search in vain ends by itself, and removes what it made."""
    for name in ("waits", "hangs"):
        (bench.folder / name).touch()
    command = bench.start()
    wait_for((bench.folder / "hanging").exists, "a driver that loads")
    command.signal(signal.SIGKILL)
    command.end()
    bench.bed.wait_clean()
    assert not list((node.home / ".cache" / "skygrid" / "agents").iterdir())


def test_a_memory_that_cannot_be_read_or_written_is_done_without(bench: Bench) -> None:
    """The cache folder is no part of a run: without it the run is slower to begin, that is all."""
    bench.node()
    memory(bench).parent.mkdir(parents=True)
    memory(bench).mkdir()
    bench.ended_well(bench.start())
