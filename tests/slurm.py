"""A real Slurm of three nodes on this machine: munged, slurmctld and three slurmd.

Each daemon is a process of the fixture, in a folder of its own, on 127.0.0.1; nothing of the
system's configuration is used or changed. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import wait_until
from tests.programs import SLURM, find, install

PROGRAMS = (*SLURM, "slurmctld", "slurmd", "munged")
NODES, CPUS, MEMORY = 3, 4, 4000
"""Nodes, and CPUs and MiB of each; more than this machine has, for a simulated share."""

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
OverTimeLimit=0
MailProg=/bin/true
PlugStackConfig={folder}/plugstack.conf
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SrunPortRange={srun}
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs={cpus} \
RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=30 State=UP
PartitionName=short Nodes=ALL MaxTime=1 State=UP
"""


class Slurm:
    """A running cluster.

    Attributes
    ----------
    folder : Path
        Configuration, state and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        host = socket.gethostname().split(".")[0]
        first = _free_ports(NODES + 1)
        text = CONFIG.format(
            host=host,
            folder=folder,
            control=first + NODES,
            first=first,
            last=first + NODES - 1,
            srun="60001-63000",
            nodes=NODES,
            cpus=CPUS,
            memory=MEMORY,
        )
        self.conf.write_text(text)
        (folder / "plugstack.conf").touch()
        (folder / "state").mkdir()

    def start(self) -> None:
        """Start all daemons, and wait until every node is idle."""
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        at = self.folder
        self._run(
            "munged",
            *("--foreground", "--force", f"--key-file={key}", f"--socket={at}/munge.socket"),
            *(f"--pid-file={at}/munged.pid", f"--seed-file={at}/munge.seed"),
            f"--log-file={at}/munged.log",
        )
        wait_until((at / "munge.socket").exists, "munged to listen")
        self._run("slurmctld", "-D", "-c", "-f", str(self.conf))
        for number in range(1, NODES + 1):
            self.start_node(f"n{number}")
        wait_until(lambda: self.states() == {"idle"}, "all nodes to be idle")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._run(f"slurmd-{node}", "-D", "-c", "-N", node, "-f", str(self.conf))

    def _run(self, name: str, *arguments: str) -> None:
        program = find(name.split("-", maxsplit=1)[0])
        assert program is not None, f"{name} is not installed"
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment(),
                start_new_session=True,
            )

    def environment(self) -> dict[str, str]:
        """Return the variables with which Slurm's commands reach this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands and return its output."""
        return subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, check=False, timeout=60
        ).stdout

    def states(self) -> set[str]:
        """Return the states of the nodes."""
        return set(self.ask("sinfo", "-h", "-N", "-o", "%T").split())

    def jobs(self) -> list[str]:
        """Return name, state and reason of each job that is queued or runs."""
        return self.ask("squeue", "-h", "-o", "%j %T %r").splitlines()

    def stop(self) -> None:
        """Cancel all jobs, and end the daemons."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.ask("scancel", "--user=root")
            wait_until(lambda: not self.jobs(), "no job to be left", seconds=30)
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self._daemons.values()):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:  # it hangs
                daemon.kill()
                daemon.wait()


def _free_ports(count: int) -> int:
    """Return the first of some adjacent ports that are free now."""
    for first in range(20000 + os.getpid() % 5000 * 4, 60000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                listener = stack.enter_context(socket.socket())
                listener.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no port is free")


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Install Slurm where it is missing, run a cluster, and end it."""
    install(list(PROGRAMS))
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    cluster = Slurm(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with running_slurm() as shown:
        print(f"export SLURM_CONF={shown.conf}", flush=True)
        signal.pause()
