"""The place where a schedule plays: its folders, disks and nodes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from skygrid.worker.evaluation.shared_folder import remove_abandoned
from skygrid.worker.keeper.folder import KeeperFolder
from tests.chaos.schedules import LOST_AFTER, ORPHAN_AFTER, Schedule
from tests.chaos.searches import search_text
from tests.chaos.sessions import Session
from tests.disks import remount, small_disk
from tests.processes import MARK, marked, wait_until
from tests.proxy import FaultProxy
from tests.ssh_runs import Bench, agents
from tests.sshd import SshNode, opened_bed

DISK_SIZE = "8m"
MEMORY_SIZE = "600m"
"""Above the room without which slots share their files on disk instead. It is never filled: a full
file system is one that has shrunk to its content."""

LEFT_SECONDS = 60.0
"""Time for everything to end after a run; `ORPHAN_AFTER` and the load of the machine."""

RUN_FILES = {"run.json", "search.pkl", "cv_results.csv", "result.json", "journal.sqlite", "logs"}
RUN_FILES |= {".mark", "cv_results.parquet", "report.html", "search.py"}
# SQLite leaves these if a reader, such as a test that counts, has the journal open at the end.
RUN_FILES |= {"journal.sqlite-wal", "journal.sqlite-shm"}


class Disk:
    """A small file system that can be full or read-only."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        self._size = size

    def fill(self) -> None:
        """Shrink it to its content."""
        for spare in range(8):  # a file may grow at this moment
            status = os.statvfs(self.folder)
            blocks = status.f_blocks - status.f_bfree + spare
            used = max(1, blocks) * status.f_frsize  # 0 would be no limit
            with suppress(Exception):
                remount(self.folder, f"size={used}")
                return
        raise AssertionError(f"{self.folder} cannot be filled")

    def forbid(self, pid: int) -> None:
        """Make it read-only for a process: what is open for writing stays so."""
        # The kernel refuses to remount a file system on which files are open for writing.
        here = shlex.quote(str(self.folder))
        _inside(pid, f"mount --bind {here} {here} && mount -o remount,bind,ro {here}")

    def allow(self, pid: int) -> None:
        """Undo `forbid`."""
        _inside(pid, f"umount --lazy {shlex.quote(str(self.folder))}")

    def restore(self) -> None:
        """Give it its size again."""
        remount(self.folder, f"size={self._size}")


def _inside(pid: int, script: str) -> None:
    """Run a script in the mount namespace of a process; no effect after its end."""
    words = ["nsenter", f"--target={pid}", "--mount", "sh", "-c", script]
    subprocess.run(words, check=False, capture_output=True)


class Stage(ABC):
    """Folders of one schedule, and the nodes of its run."""

    def __init__(self, folder: Path, schedule: Schedule, disk: Disk, memory: Disk) -> None:
        self.folder = folder
        self.schedule = schedule
        self.disk = disk
        """Holds the folders of runs."""

        self.memory = memory
        """/dev/shm of the driver and of local agents."""

        self.record: bytes | None = None
        """Content of run.json before it was removed."""

        self.mark = uuid.uuid4().hex
        self.run = disk.folder / "r"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        text = search_text(shares_steps=schedule.shares_steps)
        (folder / "search.py").write_text(text)
        self._sessions = 0

    def start(self, *, salvage: bool = False, streams: bool = True) -> Session:
        """Start the run, or resume it if it has a record."""
        arguments = ["run", "search.py", "--name", "r"]
        if self.record is not None or (self.run / "run.json").exists():
            arguments = ["resume", "r", *(["--salvage"] if salvage else [])]
        self._sessions += 1
        return Session(
            self.folder,
            arguments,
            {**self.environment(), MARK: self.mark, "TMPDIR": str(self.temporary)},
            memory=self.memory.folder,
            notes=self.folder / f"session-{self._sessions}",
            streams=streams,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of the driver."""
        return dict(os.environ)

    @abstractmethod
    def processes(self, session: Session, target: str) -> list[int]:
        """Return the processes of this name on all nodes."""

    def left_files(self) -> list[str]:
        """Return files that should not be there after the run."""
        targets = {fault.target for fault in self.schedule.faults}
        if "remover" in targets and targets & {"agent", "driver"}:
            # Both may have been killed at once. The next agent of the user cleans up.
            remove_abandoned(self.memory.folder)
            remove_abandoned(self.temporary)
        left = [
            str(path)
            for path in self.run.iterdir()
            if path.name not in RUN_FILES and ".damaged-" not in path.name
        ]
        return left + [
            str(path)
            for folder in (self.memory.folder, self.temporary)
            for path in folder.iterdir()
        ]

    def wait_ended(self) -> None:
        """Wait until no process of the run is left."""
        wait_until(lambda: not marked(self.mark), "all processes to end", LEFT_SECONDS)

    def end(self) -> None:
        """Kill all processes that are left."""
        for pid in marked(self.mark):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


class LocalStage(Stage):
    """The run's nodes are processes of this machine."""

    def __init__(self, folder: Path, schedule: Schedule, disk: Disk, memory: Disk) -> None:
        super().__init__(folder, schedule, disk, memory)
        (folder / "skygrid.toml").write_text(
            f'on = "local"\nnodes = {schedule.nodes}\nconcurrency = 2\n'
        )

    def processes(self, session: Session, target: str) -> list[int]:
        agents = [pid for pid in _children(session.pid) if "skygrid.worker" in _command(pid)]
        if target == "agent":
            return agents
        below = [pid for agent in agents for pid in _children(agent)]
        return [pid for pid in below if _is_remover(pid) == (target == "remover")]


class SshStage(Stage):
    """The run's nodes are SSH servers, each behind a proxy."""

    def __init__(
        self, folder: Path, schedule: Schedule, disk: Disk, memory: Disk, stack: ExitStack
    ) -> None:
        super().__init__(folder, schedule, disk, memory)
        self.bed = stack.enter_context(opened_bed(clean_seconds=LEFT_SECONDS))
        text = (folder / "search.py").read_text()
        self.bench = Bench(folder, self.bed, text, lost_after=LOST_AFTER, orphan_after=ORPHAN_AFTER)
        self.proxies: list[FaultProxy] = []
        self.memories: list[Disk] = []
        self.homes: list[Disk] = []
        for number in range(schedule.nodes):
            memory = small_disk(folder / f"memory-{number}", MEMORY_SIZE)
            self.memories.append(Disk(stack.enter_context(memory), MEMORY_SIZE))
            self._add_node(self.memories[-1].folder, stack)
        self.bench.write_config()

    def _add_node(self, memory: Path, stack: ExitStack) -> None:
        node = self.bench.node(host=False, home_bytes=64 * 2**20, memory=memory)
        self.homes.append(Disk(node.home, "64m"))
        proxy = stack.enter_context(FaultProxy(node.address, node.port))
        self.proxies.append(proxy)
        self.bench.hosts.append(self.bed.add(node, address=proxy.address, port=proxy.port))

    def environment(self) -> dict[str, str]:
        return self.bed.environment()

    def processes(self, session: Session, target: str) -> list[int]:
        return [pid for node in self.bed.nodes for pid in _on_node(node, target)]

    def left_files(self) -> list[str]:
        agents = [node.home / ".cache" / "skygrid" / "agents" for node in self.bed.nodes]
        if "keeper" in {fault.target for fault in self.schedule.faults}:
            # Nobody is left to remove the folder of a killed keeper; the next keeper does.
            for folder in filter(Path.exists, agents):
                KeeperFolder(folder / "next").clear_abandoned()
        folders = [*agents, *(disk.folder for disk in self.memories)]
        left = [str(path) for one in folders if one.exists() for path in one.iterdir()]
        return super().left_files() + left

    def wait_ended(self) -> None:
        super().wait_ended()
        self.bed.wait_clean(LEFT_SECONDS)


def _on_node(node: SshNode, target: str) -> list[int]:
    if target in ("keeper", "bridge"):
        module = f"skygrid.worker.keeper.{target}"
        return [one.pid for one in node.processes() if module in one.command]
    found = agents(node)
    if target == "agent":
        return found
    return [pid for agent in found for pid in _children(agent) if not _is_remover(pid)]


def _children(pid: int) -> list[int]:
    try:
        return sorted(child.pid for child in psutil.Process(pid).children())
    except psutil.NoSuchProcess:
        return []


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def _is_remover(pid: int) -> bool:
    return "rm -rf" in _command(pid)


@contextmanager
def set_up(folder: Path, schedule: Schedule) -> Iterator[Stage]:
    """Make the stage of a schedule, and remove it at the end."""
    with ExitStack() as stack:
        disk = Disk(stack.enter_context(small_disk(folder / "skygrid-runs", DISK_SIZE)), DISK_SIZE)
        memory = small_disk(folder / "memory", MEMORY_SIZE)
        shared = Disk(stack.enter_context(memory), MEMORY_SIZE)
        stage: Stage
        if schedule.place == "local":
            stage = LocalStage(folder, schedule, disk, shared)
        else:
            stage = SshStage(folder, schedule, disk, shared, stack)
        stack.callback(stage.end)
        yield stage


def facts_of(folder: Path) -> str:
    """Return the record of a run as text, for the message of a failure."""
    with suppress(OSError, ValueError):
        record = json.loads((folder / "run.json").read_text())
        return str({name: record.get(name) for name in ("state", "error", "fits_recorded")})
    return "there is no readable run.json"
