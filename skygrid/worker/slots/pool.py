"""The slots of a node as their agent sees them: starting, watching, ending, replacing."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Literal, Protocol

import msgspec

from skygrid.worker.machine import machine
from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.wire.messages import Lease

from .loop import (
    LENGTH,
    MAX_RESULT,
    REFUSAL_EXIT,
    TASK,
    RoundOrder,
    SlotEnds,
    SlotLoop,
    SlotNews,
    become_slot,
    send_order,
)
from .status_page import SlotStatus, StatusPage
from .work import RoundWork

READ_BYTES = 1 << 16

TASKS_BYTES = 1 << 18
"""Room for tasks in their pipe, where the system grants it: what slots take until the agent looks
again. In the usual 64 KiB are 1,260 tasks: 64 slots run as many in 10 ms if a fit takes 0.5 ms."""

AT_ONCE = select.PIPE_BUF // TASK.size
"""Tasks that are put into the pipe together, all of them or none, see pipe(7)."""

MAX_NEWS = MAX_RESULT + 1024
"""Bytes in the largest piece of news an agent takes from its own slot."""

KillCause = Literal["timeout", "memory", "abandoned"]


@dataclass(frozen=True)
class SlotDeath:
    """How a slot ended."""

    index: int
    status: SlotStatus
    """Where it stood when it ended."""

    cause: Literal["signal", "exit", "timeout", "memory", "abandoned", "passed"]
    """passed: killed for a candidate that was reported before the signal came; of its lease there
    is more."""

    detail: str
    peak_bytes: int


class Starter(Protocol):
    """Starts one slot process; returns its process id."""

    def __call__(self, ends: SlotEnds) -> int: ...


@dataclass(eq=False)
class Slot:
    """One running slot process."""

    index: int
    pid: int
    news: int
    """File descriptor from which the agent reads."""

    orders: socket.socket
    """Where the slot hears of later rounds."""

    buried: bool = False
    """Its process was reaped; nothing of it is left to close."""

    buffer: bytearray = field(default_factory=bytearray)
    killed: tuple[KillCause, str, SlotStatus] | None = None
    """Why the agent killed it, as a cause and for a person; and where it stood."""


class SlotPool:
    """The slots of a round, or of several rounds, and the pipe of tasks that they share.

    Parameters
    ----------
    count : int
    round : int
        Number of the first round.
    starter : Starter
        `forking` or `spawning`, for that round.
    """

    starter: Starter
    """For the round that is open."""

    def __init__(self, count: int, round: int, starter: Starter) -> None:
        self._round = round
        self.starter = starter
        self._decoder = msgspec.msgpack.Decoder(SlotNews)
        self._tasks_read, self._tasks_write = os.pipe()
        # Both ends: a slot polls before it reads, and so the agent can take tasks back.
        os.set_blocking(self._tasks_read, False)
        os.set_blocking(self._tasks_write, False)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # this user has much in pipes already
                fcntl.fcntl(self._tasks_write, fcntl.F_SETPIPE_SZ, TASKS_BYTES)
        self.status = StatusPage(count)
        self.slots: list[Slot] = []
        self._count = count

    @property
    def full(self) -> bool:
        """Whether every slot was started."""
        return len(self.slots) == self._count

    def start_next(self) -> Slot:
        """Start one slot more. The first ones work while the others are started."""
        self.slots.append(self._new_slot(len(self.slots)))
        return self.slots[-1]

    def close_in_child(self) -> None:
        """In a slot that was just forked: close what only the agent may read and write."""
        os.close(self._tasks_write)
        for slot in self.slots:
            with contextlib.suppress(OSError):  # the one that this slot replaces is closed
                os.close(slot.news)
            slot.orders.close()

    # -- later rounds

    def well(self) -> bool:
        """Whether all slots are there."""
        news = [self.read_news(slot) for slot in self.slots]
        return self.full and all(
            alive and not any(piece.refusal for piece in pieces) for pieces, alive in news
        )

    def open_round(self, order: RoundOrder, files: Sequence[IO[bytes]]) -> bool:
        """Have the slots that are there be ready for another round; whether they heard of it.

        Parameters
        ----------
        order : RoundOrder
        files : sequence of file object
            Those of its blobs. They may be closed at once.
        """
        self._round = order.round
        try:
            for slot in self.slots:
                send_order(slot.orders, order, files)
        except OSError:  # a slot that has ended, or one that has read none of many orders
            return False
        return True

    def end_round(self) -> bool:
        """Have the slots let go of what they have of a round; see `open_round`."""
        self.starter = _nobody
        return self.open_round(RoundOrder(round=-1, slots=self._count, folder=None, sizes=()), [])

    # -- tasks

    def put(self, leases: Sequence[Lease]) -> int:
        """Hand up to `AT_ONCE` tasks to whichever slots are free first.

        Returns
        -------
        count : int
            How many of them there was room for.
        """
        records = b"".join(
            TASK.pack(self._round, lease.id, lease.candidate, lease.split, lease.members)
            for lease in leases
        )
        try:
            return os.write(self._tasks_write, records) // TASK.size
        except BlockingIOError:
            return 0

    def take_back(self, count: int) -> list[int]:
        """Up to `count` tasks that no slot has taken, as the numbers of their leases."""
        taken: list[int] = []
        # A slot may be quicker at any moment; the pipe then reads as empty.
        with contextlib.suppress(BlockingIOError):
            while len(taken) < count:
                taken.append(TASK.unpack(os.read(self._tasks_read, TASK.size))[1])
        return taken

    @property
    def untaken(self) -> bool:
        """Whether tasks lie in the pipe."""
        poll = select.poll()
        poll.register(self._tasks_read, select.POLLIN)
        return bool(poll.poll(0))

    # -- state

    def running(self) -> list[tuple[Slot, SlotStatus]]:
        """Slots that run a lease, with their records."""
        records = [(slot, self.status.read(slot.index)) for slot in self.slots]
        return [(slot, record) for slot, record in records if record.lease]

    @property
    def quiet(self) -> bool:
        """Nothing runs and nothing waits in the pipe."""
        return not self.untaken and not self.running()

    def private_bytes(self) -> dict[int, int]:
        """Memory by slot index."""
        return {slot.index: machine.resident_private_bytes(slot.pid) for slot in self.slots}

    def unshared_bytes(self) -> dict[int, int]:
        """Memory by slot index, without what slots share since they were forked; slow."""
        return {slot.index: machine.unshared_bytes(slot.pid) for slot in self.slots}

    # -- news and deaths

    def ended(self, slot: Slot) -> bool:
        """Whether the process has ended, even if one that it started holds its pipe open."""
        if sys.platform != "linux":
            return False  # the end of its pipe must tell
        return os.waitid(os.P_PID, slot.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def read_news(self, slot: Slot) -> tuple[list[SlotNews], bool]:
        """What a slot sent, and whether it is still there."""
        # Asked first: what a slot sent before it ended is then in the pipe when it is read.
        alive = not self.ended(slot)
        try:
            while data := os.read(slot.news, READ_BYTES):
                slot.buffer += data
            alive = False
        except BlockingIOError:
            pass  # all is read that there is for now
        news: list[SlotNews] = []
        try:
            news.extend(self._cut(slot.buffer))
        except ValueError:
            # A fit wrote into descriptors that are not its own: nothing more can be made of them.
            return news, False
        return news, alive

    def _cut(self, buffer: bytearray) -> Iterator[SlotNews]:
        start = 0
        while len(buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, start)
            if length > MAX_NEWS:
                raise ValueError(f"a slot sent {length} bytes at once")
            end = start + LENGTH.size + length
            if len(buffer) < end:
                break
            yield self._decode(bytes(buffer[start + LENGTH.size : end]))
            start = end
        del buffer[:start]

    def _decode(self, payload: bytes) -> SlotNews:
        try:
            return self._decoder.decode(payload)
        except msgspec.DecodeError as error:
            raise ValueError(f"a slot sent something that is no news: {error}") from error

    def kill(self, slot: Slot, cause: KillCause, detail: str, record: SlotStatus) -> None:
        """End a slot and all that it started; its death is read like any other."""
        slot.killed = (cause, detail, record)
        kill_group(slot.pid)

    def bury(self, slot: Slot) -> SlotDeath:
        """Reap a slot that has ended or is ending; say how it died."""
        kill_group(slot.pid)
        _, code, usage = os.wait4(slot.pid, 0)
        os.close(slot.news)
        slot.orders.close()
        slot.buried = True
        status = self.status.read(slot.index)
        self.status.end(slot.index)
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if slot.killed and slot.killed[2].lease == status.lease:
            cause, detail, record = slot.killed
            if cause == "abandoned" or record.candidate == status.candidate:
                return SlotDeath(slot.index, status, cause, detail, peak)
            return SlotDeath(slot.index, status, "passed", detail, peak)
        if slot.killed:
            # The fit had ended when the signal came: nobody is to blame for this death.
            status = SlotStatus(0, 0.0)
        if os.WIFSIGNALED(code):
            name = signal.Signals(os.WTERMSIG(code)).name
            return SlotDeath(slot.index, status, "signal", name, peak)
        detail = f"exit code {os.waitstatus_to_exitcode(code)}"
        return SlotDeath(slot.index, status, "exit", detail, peak)

    def replace(self, slot: Slot) -> Slot:
        """Start a slot in the place of one that was buried."""
        fresh = self._new_slot(slot.index)
        self.slots[slot.index] = fresh
        return fresh

    def close(self) -> None:
        """End every slot at once."""
        living = [slot for slot in self.slots if not slot.buried]
        for slot in living:
            kill_group(slot.pid)
        for slot in living:
            os.waitpid(slot.pid, 0)
            os.close(slot.news)
            slot.orders.close()
        os.close(self._tasks_read)
        os.close(self._tasks_write)

    def _new_slot(self, index: int) -> Slot:
        news_read, news_write = os.pipe()
        os.set_blocking(news_read, False)
        orders, orders_read = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        orders.setblocking(False)
        ends = SlotEnds(
            index=index,
            round=self._round,
            tasks=self._tasks_read,
            news=news_write,
            orders=orders_read,
            status=self.status,
        )
        try:
            pid = self.starter(ends)
        except BaseException:
            os.close(news_read)
            orders.close()
            raise
        finally:
            os.close(news_write)
            orders_read.close()
        return Slot(index, pid, news_read, orders)


def _nobody(ends: SlotEnds) -> int:
    raise OSError(f"slot {ends.index} cannot be started: no round is open")


def kill_group(pid: int) -> None:
    """SIGKILL to a slot and to the processes that its fits started."""
    # Gone already, or killed before it could make its own group: then the process alone.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def forking(work: RoundWork, pools: ThreadPools, close_in_child: Callable[[], None]) -> Starter:
    """Slots that are forked from the agent: they start in milliseconds and share its memory.

    Parameters
    ----------
    work : RoundWork
    pools : ThreadPools
        Those of the agent.
    close_in_child : callable
        Closes what belongs to the agent alone.
    """
    # What there is by now is not looked at by the collector, so its pages stay shared after the
    # fork. Garbage among it stays until the round ends: to look for it would take longer than what
    # it takes to start the slots.
    gc.freeze()

    def start(ends: SlotEnds) -> int:
        agent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setpgid(0, 0)
            close_in_child()
            become_slot(agent)
            work.evaluator.prepare_process(pools)
            SlotLoop(ends, work, pools).run()
        finally:
            # Not sys.exit: nothing of the agent's may run in its copy.
            os._exit(0 if sys.exc_info()[0] is None else _report_crash())

    return start


def _report_crash() -> int:
    sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    return 1


def spawning(
    count: int,
    threads: int,
    blobs: Mapping[str, tuple[IO[bytes], int]],
    folder: str | None = None,
) -> Starter:
    """Slots that are started as new interpreters and map the blobs from their files.

    Parameters
    ----------
    count : int
        Slots of the node.
    threads : int
        BLAS and OpenMP threads for each slot.
    blobs : mapping
        ``data``, ``search`` and ``plan``, each as (file, size in bytes).
    folder : str, optional
        Where slots keep what they share.
    """

    def start(ends: SlotEnds) -> int:
        inherited = {
            "tasks": ends.tasks,
            "news": ends.news,
            "orders": ends.orders.fileno(),
            "status": ends.status.file.fileno(),
        }
        numbers = {
            "index": ends.index,
            "slots": count,
            "agent": os.getpid(),
            "round": ends.round,
            "threads": threads,
            **inherited,
        }
        command = [sys.executable, "-P", "-m", f"{__package__}.loop"]
        for name, number in numbers.items():
            command += [f"--{name}", str(number)]
        for name, (file, size) in blobs.items():
            command += [f"--{name}", str(file.fileno()), str(size)]
        if folder is not None:
            command += ["--folder", folder]
        passed = [*inherited.values(), *(file.fileno() for file, _ in blobs.values())]
        process: Any = subprocess.Popen(
            command, pass_fds=passed, stdin=subprocess.DEVNULL, process_group=0
        )
        # The pool reaps by process id; the Popen object must not try to.
        process.returncode = 0
        return int(process.pid)

    return start


def slot_died_at_start(death: SlotDeath) -> bool:
    """Whether the slot ended because the search did not load in it."""
    return death.detail == f"exit code {REFUSAL_EXIT}"
