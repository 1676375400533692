"""A slot: a process that takes tasks from its node's pipe, fits them and sends the results.

All slots of a node read one pipe of tasks, which are records of fixed size, so a free slot takes
the next task and a long fit delays no other. POSIX does not promise that concurrent reads keep
records whole. Linux and macOS do: every write is a whole number of records below PIPE_BUF, and
reads of a pipe exclude one another.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass

import msgspec

from skygrid.worker.evaluation.calls import CallRunner
from skygrid.worker.machine import machine
from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.slots.orders import BLOBS, receive_order
from skygrid.worker.slots.slot_news import OWN_EXIT, SlotNews, refuse, send_news, send_result
from skygrid.worker.slots.status_page import StatusPage
from skygrid.worker.slots.work import SlotWork, load_round
from skygrid.worker.user_code.module_values import forget_values
from skygrid.worker.wire.blobs import any_mapped
from skygrid.worker.wire.messages.to_agent import MOST_MEMBERS

TASK = struct.Struct(f"<IQII{MOST_MEMBERS // 8}s")
"""A task in the pipe: round, lease, candidate, split, and `to_agent.Lease.members` padded with
zeros."""

HELD_BYTES = 64 << 20
"""Memory in bytes beyond the agent's above which a slot ends after a round. Modules and their
caches take less; more would be held until the next search, which may never come."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Opened once in the agent rather than in each forked slot."""


@dataclass(frozen=True)
class SlotEnds:
    """Number of a slot, and its ends of the channels to its agent."""

    index: int
    """The slot's number on its node, from 0."""

    round: int
    """The round that the slot is started for."""

    tasks: int
    """File descriptor of the pipe that all slots read."""

    news: int
    """File descriptor of the slot's own pipe to the agent."""

    orders: socket.socket
    """Socket on which orders for later rounds arrive."""

    status: StatusPage


class SlotLoop:
    """Main loop of a slot.

    Parameters
    ----------
    ends : SlotEnds
    work : SlotWork
        Work of the first round.
    pools : ThreadPools
        Thread pools to limit in later rounds.
    """

    def __init__(self, ends: SlotEnds, work: SlotWork, pools: ThreadPools) -> None:
        self._index, self._round = ends.index, ends.round
        self._tasks, self._news, self._orders = ends.tasks, ends.news, ends.orders
        self._status = ends.status
        self._work: SlotWork | None = work
        self._pools = pools
        self._own_threads = threading.active_count()
        self._poll = select.poll()
        self._poll.register(self._tasks, select.POLLIN)
        self._poll.register(self._orders, select.POLLIN)

    def run(self) -> None:
        """Run tasks until the agent closes the pipe."""
        send_news(self._news, SlotNews(round=self._round))
        while record := self._next_task():
            round, lease, candidate, split, members = TASK.unpack(record)
            while round != self._round:
                # The order for this round was sent before its first task.
                self._take_order()
            self._run(lease, candidate, members, split)

    def _run(self, lease: int, candidate: int, bits: bytes, split: int) -> None:
        """Run one task; keep its next member on the status page."""
        work = self._work
        assert work is not None
        if isinstance(work, CallRunner):
            self._run_calls(work, lease)
            return
        members = work.members(candidate, bits)
        began = time.monotonic()
        self._status.begin(self._index, lease, members[0], began)
        left = dict.fromkeys(members)
        for result in work.results(lease, self._index, members, split):
            now = time.monotonic()
            timed = msgspec.structs.replace(result, busy_seconds=now - began)
            # Send before updating the page: a result in the pipe survives its slot.
            send_result(self._news, timed)
            left.pop(result.candidate, None)
            began = time.monotonic()
            if left:
                self._status.begin(self._index, lease, next(iter(left)), began)
        self._status.end(self._index)

    def _run_calls(self, work: CallRunner, lease: int) -> None:
        """Run the calls of a lease; keep the position of the running one on the status page."""
        began = time.monotonic()
        self._status.begin(self._index, lease, 0, began)
        done = work.run(lease, self._index, functools.partial(self._begin_call, lease))
        timed = msgspec.structs.replace(done, busy_seconds=time.monotonic() - began)
        send_result(self._news, timed)
        self._status.end(self._index)

    def _begin_call(self, lease: int, position: int) -> None:
        self._status.begin(self._index, lease, position, time.monotonic())

    def _next_task(self) -> bytes:
        while True:
            try:
                return os.read(self._tasks, TASK.size)
            except BlockingIOError:
                ready = dict(self._poll.poll())
            if self._tasks not in ready:
                self._take_order()

    # -- later rounds

    def _take_order(self) -> None:
        """Drop the last round, and load the next one if the order has files."""
        if self._work is not None:
            self._work.leave_process()
            self._work = None
            forget_values()
        order, files = receive_order(self._orders)
        self._round = order.round
        if not files:
            self._end_what_fits_started()
            gc.collect()
            if self._something_is_left():
                os._exit(OWN_EXIT)
            return
        try:
            data, search, plan = files
            self._work = load_round(data, search, plan, order.folder, order.slots)
            self._pools.look()
            self._work.prepare_process(self._pools)
        except BaseException as error:  # noqa: BLE001 (reported to the driver)
            refuse(self._news, order.round, error)
        finally:
            for file, _ in files:
                file.close()
        send_news(self._news, SlotNews(round=order.round))

    def _something_is_left(self) -> bool:
        """Return whether the last round left threads, its data, or more memory than `HELD_BYTES`.

        The garbage collector skips what a forked slot inherited (`reuse.SlotStarter`): an estimator
        of such a round that keeps an exception, whose traceback refers to X, is never freed.
        """
        if threading.active_count() > self._own_threads or any_mapped():
            return True
        return machine.held_bytes(os.getpid()) - machine.held_bytes(os.getppid()) > HELD_BYTES

    def _end_what_fits_started(self) -> None:
        """End the other processes in this process's group."""
        # Leave the group first: a signal to the group would reach this process too.
        os.setpgid(0, os.getpgid(os.getppid()))
        # The group is empty, or left to processes of another user.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(os.getpid(), signal.SIGKILL)
        os.setpgid(0, 0)
        with contextlib.suppress(ChildProcessError):  # all children are reaped
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


survives_sigterm = False
"""True on a node that gets SIGTERM as a notice: its fits may end first."""


def _survive(number: int, frame: object) -> None:
    """Do nothing. Programs that a fit starts get the default action, unlike with SIG_IGN."""


def become_slot(agent: int) -> None:
    """Set the signals of a slot, and make this process end with its agent.

    Parameters
    ----------
    agent : int
        Process id of the agent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _survive if survives_sigterm else signal.SIG_DFL)
    signal.signal(signal.SIGURG, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        # prctl(2): the kernel kills this process when the thread that forked it ends.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # When memory runs out, the kernel should kill a fit, not the agent or the driver.
        with contextlib.suppress(OSError):  # some containers hide the file, which is only a hint
            descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            os.write(descriptor, b"1000")
            os.close(descriptor)
    else:
        threading.Thread(target=_end_with, args=(agent,), daemon=True).start()
    if os.getppid() != agent:
        os._exit(0)


def _end_with(agent: int) -> None:
    while os.getppid() == agent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Run a spawned slot, which inherits its channels and blobs as file descriptors."""
    parser = argparse.ArgumentParser()
    for name in ("index", "slots", "agent", "round", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("tasks", "news", "orders", "status"):  # file descriptors
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in BLOBS:
        parser.add_argument(f"--{name}", type=int, nargs=2, required=True)
    parser.add_argument("--folder")
    args = parser.parse_args()
    become_slot(args.agent)
    # A slot ends by SIGKILL: its output must be in the log before.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        loop = _loaded(args)
    except BaseException as error:  # noqa: BLE001 (reported to the driver)
        refuse(args.news, args.round, error)
    loop.run()


def _loaded(args: argparse.Namespace) -> SlotLoop:
    """Return the loop; it holds the only reference to the round, which it drops at its end."""
    data, search, plan = files = [
        (os.fdopen(descriptor, "rb"), size)
        for descriptor, size in (getattr(args, name) for name in BLOBS)
    ]
    work = load_round(data, search, plan, args.folder, args.slots)
    for file, _ in files:
        file.close()
    pools = ThreadPools(args.threads)
    work.prepare_process(pools)
    ends = SlotEnds(
        index=args.index,
        round=args.round,
        tasks=args.tasks,
        news=args.news,
        orders=socket.socket(fileno=args.orders),
        status=StatusPage(args.slots, os.fdopen(args.status, "r+b")),
    )
    return SlotLoop(ends, work, pools)


if __name__ == "__main__":
    main()
