"""The agent's side of the slots: orders, tasks, results, deaths and replacements.

Forking a slot takes milliseconds, spawning one a second, as long as a short search or a round of
halving. So slots stay from round to round and load each new round themselves.
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

from skygrid.worker.limits import MAX_NEWS
from skygrid.worker.machine import machine
from skygrid.worker.machine.process_group import signal_name, wait_for_end
from skygrid.worker.slots.loop import TASK, SlotEnds
from skygrid.worker.slots.orders import RoundOrder, send_order
from skygrid.worker.slots.slot_news import LENGTH, OWN_EXIT, SlotNews
from skygrid.worker.slots.status_page import SlotStatus, StatusPage
from skygrid.worker.wire.messages.to_agent import Lease

READ_BYTES = 1 << 16

TASKS_BYTES = 1 << 18
"""Size of the pipe of tasks in bytes, if the system permits it. The default of 64 KiB holds 1,260
tasks, which 64 slots finish in 10 ms if a fit takes 0.5 ms."""

AT_ONCE = select.PIPE_BUF // TASK.size
"""Most tasks that one write puts into the pipe: all or none of them, see pipe(7)."""

KillCause = Literal["timeout", "memory", "abandoned"]


@dataclass(frozen=True)
class SlotDeath:
    """The end of a slot."""

    index: int
    status: SlotStatus
    """Status when the slot ended."""

    cause: Literal["signal", "exit", "timeout", "memory", "abandoned", "passed", "own"]
    """passed: killed for a candidate that ended before the signal; its lease has more candidates.
    own: the slot ended itself between fits, see `loop.OWN_EXIT`."""

    detail: str
    peak_bytes: int


Starter = Callable[[SlotEnds], int]
"""Starts one slot process for the open round; returns its process id."""


@dataclass(eq=False)
class Slot:
    """One running slot process."""

    index: int
    pid: int
    news: int
    """File descriptor from which the agent reads."""

    orders: socket.socket
    """Socket on which the agent sends orders for later rounds."""

    buffer: bytearray = field(default_factory=bytearray)
    killed: tuple[KillCause, str, SlotStatus] | None = None
    """Cause, explanation and status if the agent killed the slot."""


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
        # The read end too, because slots poll and the agent takes tasks back.
        os.set_blocking(self._tasks_read, False)
        os.set_blocking(self._tasks_write, False)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # this user has much in pipes already
                fcntl.fcntl(self._tasks_write, fcntl.F_SETPIPE_SZ, TASKS_BYTES)
        self.status = StatusPage(count)
        self.slots: list[Slot] = []
        """Slots that were started and not yet reaped."""

        self._wanted = self._count = count

    @property
    def full(self) -> bool:
        """True if every slot was started."""
        return len(self.slots) == self._count

    def close_in_child(self) -> None:
        """Close the agent's descriptors in a slot that was just forked."""
        os.close(self._tasks_write)
        for slot in self.slots:
            os.close(slot.news)
            slot.orders.close()

    # -- rounds

    def open_round(
        self, round: int, files: Sequence[tuple[IO[bytes], int]], folder: str | None
    ) -> None:
        """Order the existing slots to load a round; reap those that have ended.

        Parameters
        ----------
        round : int
        files : sequence of (file, int)
            The round's blobs, with their sizes in bytes.
        folder : str or None
            Folder that the slots share.
        """
        self._round, self._count = round, self._wanted
        sizes = tuple(size for _, size in files)
        order = RoundOrder(round=round, slots=self._count, folder=folder, sizes=sizes)
        for slot in list(self.slots):
            try:
                send_order(slot.orders, order, [file for file, _ in files])
            except OSError:  # the slot has ended, or has left many orders unread
                self.reap(slot)

    def end_round(self) -> None:
        """Make the slots drop the round. A slot in which threads, memory or data are left ends."""
        self.open_round(-1, [], None)

    # -- tasks

    def put(self, leases: Sequence[Lease]) -> int:
        """Put up to `AT_ONCE` tasks into the pipe.

        Returns
        -------
        count : int
            Number of tasks put there: all, or 0 if there was no room.
        """
        records = b"".join(
            TASK.pack(self._round, lease.id, lease.candidate, lease.split, lease.members)
            for lease in leases
        )
        try:
            return os.write(self._tasks_write, records) // TASK.size
        except BlockingIOError:  # the pipe is full
            return 0

    def take_back(self, count: int) -> list[int]:
        """Take up to `count` tasks out of the pipe; return the numbers of their leases."""
        taken: list[int] = []
        # Slots take tasks at the same time: the pipe may become empty at any moment.
        with contextlib.suppress(BlockingIOError):
            while len(taken) < count:
                taken.append(TASK.unpack(os.read(self._tasks_read, TASK.size))[1])
        return taken

    @property
    def untaken(self) -> bool:
        """True if tasks are in the pipe."""
        poll = select.poll()
        poll.register(self._tasks_read, select.POLLIN)
        return bool(poll.poll(0))

    # -- state

    def running(self) -> list[tuple[Slot, SlotStatus]]:
        """Return the slots that run a lease, with their status records."""
        records = [(slot, self.status.read(slot.index)) for slot in self.slots]
        return [(slot, record) for slot, record in records if record.lease]

    @property
    def quiet(self) -> bool:
        """True if no fit runs and no task is in the pipe."""
        return not self.untaken and not self.running()

    def private_bytes(self) -> dict[int, int]:
        """Return the private memory in bytes, by slot index."""
        return {slot.index: machine.resident_private_bytes(slot.pid) for slot in self.slots}

    def unshared_bytes(self) -> dict[int, int]:
        """Return the memory in bytes without pages shared since the fork, by slot index; slow."""
        return {slot.index: machine.unshared_bytes(slot.pid) for slot in self.slots}

    # -- news and deaths

    def ended(self, slot: Slot) -> bool:
        """Return whether the process has ended, even if one of its children holds its pipe open."""
        if sys.platform != "linux":
            return False  # `read_news` then finds the end of its pipe
        return os.waitid(os.P_PID, slot.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def read_news(self, slot: Slot) -> tuple[list[SlotNews], bool]:
        """Return the messages of a slot, and whether it is still alive."""
        # Check first: then the pipe holds all that an ended slot has sent.
        alive = not self.ended(slot)
        try:
            while data := os.read(slot.news, READ_BYTES):
                slot.buffer += data
            alive = False
        except BlockingIOError:
            pass  # the pipe is empty for now
        news: list[SlotNews] = []
        try:
            news.extend(self._cut(slot.buffer))
        except ValueError:
            # A fit wrote into a descriptor of the slot: the rest cannot be decoded.
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
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"a slot sent something that is no news: {error}") from error

    def kill(self, slot: Slot, cause: KillCause, detail: str, record: SlotStatus) -> None:
        """Kill a slot and its children; its death is noticed like any other."""
        slot.killed = (cause, detail, record)
        kill_group(slot.pid)

    def reap(self, slot: Slot) -> SlotDeath:
        """Reap a slot that has ended or is ending; return the cause."""
        kill_group(slot.pid)
        code, peak = wait_for_end(slot.pid)
        os.close(slot.news)
        slot.orders.close()
        self.slots.remove(slot)
        status = self.status.read(slot.index)
        self.status.end(slot.index)
        if slot.killed and slot.killed[2].lease == status.lease:
            cause, detail, record = slot.killed
            if cause == "abandoned" or record.candidate == status.candidate:
                return SlotDeath(slot.index, status, cause, detail, peak)
            return SlotDeath(slot.index, status, "passed", detail, peak)
        if slot.killed:
            # The fit ended before the signal: blame no fit for this death.
            status = SlotStatus(0, 0.0)
        if os.WIFSIGNALED(code):
            name = signal_name(os.WTERMSIG(code))
            return SlotDeath(slot.index, status, "signal", name, peak)
        exit_code = os.waitstatus_to_exitcode(code)
        own = exit_code == OWN_EXIT and not status.lease
        return SlotDeath(
            slot.index, status, "own" if own else "exit", f"exit code {exit_code}", peak
        )

    def start_next(self) -> Slot:
        """Start one missing slot. The first slots work while the others start."""
        taken = {slot.index for slot in self.slots}
        slot = self._new_slot(min(set(range(self._count)) - taken))
        self.slots.append(slot)
        return slot

    def accept_fewer(self) -> int:
        """Be content with the slots that run, for this round; return the number that was wanted."""
        self._count = len(self.slots)
        return self._wanted

    def clear(self) -> None:
        """Kill every slot, and empty the pipe of tasks."""
        for slot in self.slots:
            kill_group(slot.pid)
        for slot in list(self.slots):
            self.reap(slot)
        self.take_back(sys.maxsize)

    def close(self) -> None:
        """Kill every slot, and close the pipe of tasks."""
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
    """Send SIGKILL to a slot and to the processes that its fits started."""
    # A slot may be gone already, or have no group of its own yet: signal the process first.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    # A group that is gone, or left to processes of another user, cannot be signalled.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
