"""Clusters on this machine, one class for each place, for the contract of nodes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

import psutil

from tests.command import gone, wait_for
from tests.slurm import running_slurm

BIN = Path(sys.executable).parent


class Bed(Protocol):
    """A cluster that searches of the tests run on."""

    name: str
    """Value of ``on``; nodes are called NAME-1 and so on."""

    grows: bool
    """True if `grow` is supported."""

    ends: bool
    """True if `lose_all` is supported: there may be no node to be had."""

    nodes_at_first: int
    """Number of nodes of two slots that the cluster has room for before it grows."""

    brings_data: bool
    """True if the cluster brings data to a node, so that the driver does not send it."""

    doctor_starts_a_node: bool
    """True if the doctor examines the place by an agent."""

    config: str
    """Config file of a run, without nodes and concurrency."""

    def lose(self, agent: psutil.Process) -> None:
        """Kill the node of an agent, with the part of the cluster that runs it."""

    def lose_all(self) -> None:
        """Kill the cluster, or make it useless, so that no node can be had."""

    def grow(self) -> None:
        """Add room for another node of four slots."""

    def left(self) -> Sequence[str]:
        """Return what the cluster still has of runs: jobs, actors, requests."""

    def close(self) -> None:
        """End the cluster."""


def agents() -> list[psutil.Process]:
    """Return the agents of this test's mark, or of any cluster that it started."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            owned = process.environ().get("SKYGRID_TEST_BED") == os.environ["SKYGRID_TEST_BED"]
            parent = process.parent()
            forked = parent is not None and parent.cmdline() == words
        except psutil.Error:
            continue
        if owned and "skygrid.worker" in words and not forked:
            found.append(process)
    return found


class LocalBed:
    """This machine."""

    name, config = "local", 'on = "local"\n'
    grows, ends, nodes_at_first = False, False, 2
    brings_data, doctor_starts_a_node = False, False

    def __init__(self, folder: Path) -> None: ...

    def lose(self, agent: psutil.Process) -> None:
        agent.kill()

    def lose_all(self) -> None:
        raise NotImplementedError

    def grow(self) -> None:
        raise NotImplementedError

    def left(self) -> Sequence[str]:
        return ()

    def close(self) -> None: ...


class CommandBed(LocalBed):
    """A command that starts agents while there is room for them."""

    name = "command"
    grows, ends, nodes_at_first = True, True, 1
    brings_data, doctor_starts_a_node = False, True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        wait_room = f"while test -e {folder}/full && ! mkdir {folder}/one; do sleep 0.1; done"
        start = f"test ! -e {folder}/gone && {{ {wait_room}; }} && exec {{agent}}"
        (folder / "full").touch()
        self.config = f'on = "command"\n[command]\nstart = {json.dumps(start)}\nshared = true\n'

    def lose_all(self) -> None:
        (self._folder / "gone").touch()
        for agent in agents():
            agent.kill()

    def grow(self) -> None:
        (self._folder / "full").unlink()


class RayBed:
    """A Ray cluster of one machine with four CPUs."""

    name = "ray"
    grows, ends, nodes_at_first = True, True, 2
    brings_data, doctor_starts_a_node = True, True

    def __init__(self, folder: Path) -> None:
        # Not the folder of the test: the path of a socket is short.
        self._temporary = tempfile.TemporaryDirectory(prefix="bed-", dir="/tmp")
        # Not the token of this machine's user, if there is one.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-tests"}
        self._port, client = free_ports(2)
        head = (
            "--head",
            "--node-ip-address=127.0.0.2",
            f"--port={self._port}",
            f"--ray-client-server-port={client}",
            f"--temp-dir={self._temporary.name}",
            "--include-dashboard=false",
        )
        self.address = f"127.0.0.2:{self._port}"
        try:
            self._start(*head)
        except BaseException:
            self.close()
            raise
        self.client_address = f"ray://127.0.0.2:{client}"
        self.config = f'on = "ray"\n[ray]\naddress = "{self.address}"\n'

    def _start(self, *options: str) -> None:
        command = [BIN / "ray", "start", "--num-cpus=4", "--object-store-memory=200000000"]
        done = subprocess.run(
            [*command, "--disable-usage-stats", *options],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout

    def lose(self, agent: psutil.Process) -> None:
        host = agent.parent()
        assert host is not None
        assert "ray::" in " ".join(host.cmdline())
        host.kill()

    def lose_all(self) -> None:
        self._end()

    def grow(self) -> None:
        self._start(f"--address={self.address}", "--node-ip-address=127.0.0.3")

    def left(self) -> Sequence[str]:
        script = (
            "import ray, json, sys; from ray.util.state import list_actors;"
            f"ray.init({self.address!r}, log_to_driver=False, logging_level='ERROR');"
            "cpus = ray.available_resources().get('CPU') == ray.cluster_resources()['CPU'];"
            "print(json.dumps([] if cpus else ['CPUs in use']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        )
        return list(json.loads(done.stdout.splitlines()[-1]))

    def _end(self) -> None:
        while found := _with_word(self._temporary.name):
            for process in found:
                family = _children(process)
                for each in (process, *family):
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            wait_for(lambda: gone(found), "Ray to end")  # waited for at once

    def close(self) -> None:
        self._end()
        self._temporary.cleanup()


class RayClientBed(RayBed):
    """The same cluster, through its client server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config = f'on = "ray"\n[ray]\naddress = "{self.client_address}"\n'


class DaskBed:
    """A Dask cluster of one worker with four threads."""

    name = "dask"
    grows, ends, nodes_at_first = True, True, 1
    brings_data, doctor_starts_a_node = True, True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._programs = [
            self._start("scheduler", "--port", "0", "--no-show", "--no-dashboard"),
        ]
        wait_for(self._file.exists, "the scheduler")
        self.address = json.loads(self._file.read_text())["address"]
        self.config = f'on = "dask"\n[dask]\nscheduler_file = "{self._file}"\n'
        self.grow()

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        module = f"distributed.cli.dask_{program}"
        words = ["--scheduler-file", str(self._file), "--host", "127.0.0.1", *options]
        with (self._folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )

    def lose(self, agent: psutil.Process) -> None:
        worker = agent.parent()
        assert worker is not None
        worker.kill()

    def lose_all(self) -> None:
        self._end()

    def grow(self) -> None:
        self._programs.append(
            self._start("worker", "--nthreads", "4", "--no-dashboard", "--memory-limit", "0")
        )

    def left(self) -> Sequence[str]:
        script = (
            "from distributed import Client\n"
            f"with Client({self.address!r}) as client:\n"
            "    tasks = client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.tasks])\n"
            "print(len(tasks))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        )
        return ["tasks"] * int(done.stdout.splitlines()[-1])

    def _end(self) -> None:
        for program in self._programs:
            family = _children(psutil.Process(program.pid)) if program.poll() is None else []
            program.kill()
            program.wait()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def close(self) -> None:
        self._end()


class SlurmBed:
    """A Slurm of three nodes of four CPUs, of which one takes jobs at first."""

    name, config = "slurm", 'on = "slurm"\n[slurm]\nstop_timeout = 5\n'
    grows, ends, nodes_at_first = True, True, 1
    brings_data, doctor_starts_a_node = False, False

    def __init__(self, folder: Path) -> None:
        self._before = os.environ.get("SLURM_CONF")
        self._opened = ExitStack()
        self._slurm = self._opened.enter_context(running_slurm())
        os.environ["SLURM_CONF"] = str(self._slurm.conf)
        self._update("NodeName=n[2-3]", "State=DRAIN", "Reason=test")

    def _update(self, *words: str) -> None:
        self._slurm.ask("scontrol", "update", *words)

    def lose(self, agent: psutil.Process) -> None:
        self._slurm.ask("scancel", "--signal=KILL", "--full", agent.environ()["SLURM_JOB_ID"])

    def lose_all(self) -> None:
        self._update("PartitionName=main", "State=INACTIVE")
        for agent in agents():
            self.lose(agent)

    def grow(self) -> None:
        self._update("NodeName=n2", "State=RESUME")

    def left(self) -> Sequence[str]:
        return [job for job in self._slurm.jobs() if "COMPLETING" not in job]

    def close(self) -> None:
        self._opened.close()
        if self._before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = self._before


BEDS: dict[str, type] = {
    "local": LocalBed,
    "command": CommandBed,
    "slurm": SlurmBed,
    "ray": RayBed,
    "ray-client": RayClientBed,
    "dask": DaskBed,
}


def free_ports(count: int) -> list[int]:
    """Return free ports. Other programs may take them before they are used."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _with_word(word: str) -> list[psutil.Process]:
    """Return the processes with a word in their command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(word in each for each in process.cmdline()):
                found.append(process)
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
