"""The slots of a node as their agent sees them: told of rounds, watched, ended, replaced.

To fork a slot takes milliseconds, to spawn one a second: as long as a short search, or a round of
halving, takes altogether. So slots stay from round to round, and load each new one by themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Literal

import msgspec

from skygrid.worker.machine import machine
from skygrid.worker.slots.loop import (
    LENGTH,
    MAX_RESULT,
    OWN_EXIT,
    TASK,
    RoundOrder,
    SlotEnds,
    SlotNews,
    send_order,
)
from skygrid.worker.slots.status_page import SlotStatus, StatusPage
from skygrid.worker.wire.messages import Lease

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

    cause: Literal["signal", "exit", "timeout", "memory", "abandoned", "passed", "own"]
    """passed: killed for a candidate that was reported before the signal came; of its lease there
    is more. own: it ended by itself between two rounds, see `slot.OWN_EXIT`."""

    detail: str
    peak_bytes: int


Starter = Callable[[SlotEnds], int]
"""Starts one slot process for the round that is open; returns its process id."""


@dataclass(eq=False)
class Slot:
    """One running slot process."""

    index: int
    pid: int
    news: int
    """File descriptor from which the agent reads."""

    orders: socket.socket
    """Where the slot hears of later rounds."""

    buffer: bytearray = field(default_factory=bytearray)
    killed: tuple[KillCause, str, SlotStatus] | None = None
    """Why the agent killed it, as a cause and for a person; and where it stood."""


class SlotPool:
    """The slots of a node, and the pipe of tasks that they share.

    Parameters
    ----------
    count : int
    starter : Starter
    """

    def __init__(self, count: int, starter: Starter) -> None:
        self._round = -1
        self._starter = starter
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
        """Those that were started and not buried."""

        self._count = count

    @property
    def full(self) -> bool:
        """Whether every slot was started."""
        return len(self.slots) == self._count

    def close_in_child(self) -> None:
        """In a slot that was just forked: close what only the agent may read and write."""
        os.close(self._tasks_write)
        for slot in self.slots:
            os.close(slot.news)
            slot.orders.close()

    # -- rounds

    def open_round(
        self, round: int, files: Sequence[tuple[IO[bytes], int]], folder: str | None
    ) -> None:
        """Tell the slots that are there of a round; those that have ended are buried.

        Parameters
        ----------
        round : int
        files : sequence of (file, int)
            Its blobs with their sizes.
        folder : str or None
            Where slots keep what they share.
        """
        self._round = round
        sizes = tuple(size for _, size in files)
        order = RoundOrder(round=round, slots=self._count, folder=folder, sizes=sizes)
        for slot in list(self.slots):
            try:
                send_order(slot.orders, order, [file for file, _ in files])
            except OSError:  # it has ended, or has read none of many orders
                self.bury(slot)

    def end_round(self) -> None:
        """Have the slots let go of the round. One that something is left in ends."""
        self.open_round(-1, [], None)

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
        self.slots.remove(slot)
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
        exit_code = os.waitstatus_to_exitcode(code)
        own = exit_code == OWN_EXIT and not status.lease
        return SlotDeath(
            slot.index, status, "own" if own else "exit", f"exit code {exit_code}", peak
        )

    def start_next(self) -> Slot:
        """Start one slot that is missing. The first ones work while the others are started."""
        taken = {slot.index for slot in self.slots}
        slot = self._new_slot(min(set(range(self._count)) - taken))
        self.slots.append(slot)
        return slot

    def clear(self) -> None:
        """End every slot at once, and take back all tasks."""
        for slot in self.slots:
            kill_group(slot.pid)
        for slot in list(self.slots):
            self.bury(slot)
        self.take_back(sys.maxsize)

    def close(self) -> None:
        """End every slot, for good."""
        self.clear()
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
            pid = self._starter(ends)
        except BaseException:
            os.close(news_read)
            orders.close()
            raise
        finally:
            os.close(news_write)
            orders_read.close()
        return Slot(index, pid, news_read, orders)


def kill_group(pid: int) -> None:
    """SIGKILL to a slot and to the processes that its fits started."""
    # Gone already, or killed before it could make its own group: then the process alone.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
