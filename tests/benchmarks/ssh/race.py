"""Three nodes behind slow connections, and measured runs on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks.ssh.searches import SCORE
from tests.proxy import FaultProxy
from tests.ssh_runs import Bench
from tests.sshd import SshBed, opened_bed

NODES = int(os.environ.get("NODES", "3"))
SLOTS = 4
ONE_WAY_SECONDS = 0.025
RUN_SECONDS = 300.0
"""Time after which a run and the benchmark are stopped, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of one run."""

    fits: int
    efficiency: float
    """Ideal time over the time from the first fit's start to the last outcome on disk."""

    search_seconds: float
    wall_seconds: float
    """Time of the whole command."""

    first_fit_seconds: float
    """Time from the start of the command to the start of its first fit."""

    driver_us: float
    """Driver's processor time per fit, from the first working node to the last outcome."""

    threads_us: dict[str, float]
    """The same by kind of thread, without the last second."""

    busy: float
    """Share of this machine's processors in use by driver, nodes, proxies and all else."""

    bytes_up: list[int]
    """Bytes to each node through its proxy, including SSH's overhead."""

    bytes_down: list[int]


class Race:
    """Runs one search after another on the same nodes.

    Parameters
    ----------
    folder : Path
    bed : SshBed
    proxies : list of FaultProxy
        One before each node.
    bench : Bench
    """

    def __init__(self, folder: Path, bench: Bench, bed: SshBed, proxies: list[FaultProxy]) -> None:
        self._folder, self._bench, self._bed, self._proxies = folder, bench, bed, proxies
        self._serial = 0

    def run(self, search: str, seconds: float) -> Measured:
        """Run a search whose fits sleep `seconds` each."""
        self._serial += 1
        starts = self._folder / "starts"
        shutil.rmtree(starts, ignore_errors=True)
        starts.mkdir()
        (self._folder / "search.py").write_text(search)
        self._bench.write_config()
        before = [(proxy.bytes_up, proxy.bytes_down) for proxy in self._proxies]
        psutil.cpu_percent()
        begin = time.time()
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.ssh.driver", f"r{self._serial}"],
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        wall, busy = time.time() - begin, psutil.cpu_percent() / 100
        if done.returncode:
            raise SystemExit(f"a run failed:\n{done.stderr[-3000:]}")
        self._bed.wait_clean()
        said = json.loads(done.stdout.splitlines()[-1])
        assert all(abs(score - SCORE) < 1e-9 for score in said["scores"]), said["scores"]
        first = min(float(path.read_text()) for path in starts.iterdir())
        took = said["last_recorded"] - first
        return Measured(
            fits=said["fits"],
            efficiency=said["fits"] * seconds / (len(self._proxies) * SLOTS) / took,
            search_seconds=took,
            wall_seconds=wall,
            first_fit_seconds=first - begin,
            driver_us=1e6 * said["cpu_seconds"] / said["fits"],
            threads_us={
                kind: 1e6 * seconds / said["fits"]
                for kind, seconds in said["thread_seconds"].items()
            },
            busy=busy,
            bytes_up=[p.bytes_up - up for p, (up, _) in zip(self._proxies, before, strict=True)],
            bytes_down=[p.bytes_down - d for p, (_, d) in zip(self._proxies, before, strict=True)],
        )

    def _environment(self) -> dict[str, str]:
        """Return a user's environment, in which Python writes bytecode."""
        left_out = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
        found = {k: v for k, v in self._bed.environment().items() if k not in left_out}
        return found | {"PYTHONPATH": str(Path(__file__).parents[3])}


@contextmanager
def opened_race(folder: Path, nodes: int = NODES) -> Iterator[Race]:
    """Yield a race with nodes and proxies, closed at the end."""
    with opened_bed() as bed, ExitStack() as lines:
        bench = Bench(folder, bed)
        bench.concurrency = SLOTS
        proxies = []
        for _ in range(nodes):
            node = bench.node(host=False)
            proxy = lines.enter_context(FaultProxy(node.address, node.port, delay=ONE_WAY_SECONDS))
            bench.hosts.append(bed.add(node, address=proxy.address, port=proxy.port))
            proxies.append(proxy)
        yield Race(folder, bench, bed, proxies)
