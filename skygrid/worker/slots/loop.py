"""A slot: one process that takes tasks from its node's pipe, fits them and sends what came of it.

All slots of a node read the same pipe of tasks, a record of fixed size for each, so that a slot
that is free takes the next one and a long fit holds nothing up. POSIX does not promise that reads
of such records by several processes never split one; Linux and macOS keep them whole, as every
write is a whole number of records below PIPE_BUF and a pipe's reads exclude one another.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, NoReturn

import msgspec

from skygrid.worker.evaluation.exception_records import TEXT_LIMIT, records_of, shortened
from skygrid.worker.machine import machine
from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.slots.status_page import StatusPage
from skygrid.worker.slots.work import RoundWork, load_round
from skygrid.worker.wire.messages import MOST_MEMBERS, FitResult, WarningNote

TASK = struct.Struct(f"<IQII{MOST_MEMBERS // 8}s")
"""A task in the pipe: round, lease, candidate, split, members as `messages.Lease.members` has them,
with zeros behind."""

LENGTH = struct.Struct("<I")
MAX_RESULT = 4 * 1024 * 1024
"""Bytes in the largest result that a slot sends as it is; half of what a frame takes."""

WARNINGS_LIMIT = 20
"""Different warnings that are kept of such a result."""

BLOBS = ("data", "search", "plan")
"""What a round is loaded from, in the order in which `round_work.load_round` takes it."""

ORDER_BYTES = 8192
"""More than any order takes: a path has at most 4,096 bytes."""

OWN_EXIT = 97
"""Exit code of a slot that ended by itself: it has refused a round, or something is left in it."""

HELD_BYTES = 64 << 20
"""Memory of a slot beyond its agent's, up to which it stays when a round is over. Modules and what
they cache take some; a slot that keeps more would hold it until the next search, which may never
come."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Opened here, once, rather than in each slot that is forked."""


class SlotNews(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a slot sends to its agent, behind a little-endian 32-bit length."""

    round: int = -1
    """The round that the slot is ready for, or refuses."""

    refusal: str = ""
    """Why the search cannot be loaded in it."""

    result: FitResult | None = None


@dataclass(frozen=True)
class SlotEnds:
    """What a slot is given: its place, and its ends of the ways to it and from it."""

    index: int
    """The slot's number on its node, from 0."""

    round: int
    """The round that it is started for."""

    tasks: int
    """File descriptor of the pipe that all slots read."""

    news: int
    """File descriptor of the slot's own pipe to the agent."""

    orders: socket.socket
    """Where it hears of later rounds."""

    status: StatusPage


class SlotLoop:
    """The life of a slot.

    Parameters
    ----------
    ends : SlotEnds
    work : RoundWork
        Of its first round.
    pools : ThreadPools
        For later rounds.
    """

    def __init__(self, ends: SlotEnds, work: RoundWork, pools: ThreadPools) -> None:
        self._index, self._round = ends.index, ends.round
        self._tasks, self._news, self._orders = ends.tasks, ends.news, ends.orders
        self._status = ends.status
        self._work: RoundWork | None = work
        self._pools = pools
        self._own_threads = threading.active_count()
        self._poll = select.poll()
        self._poll.register(self._tasks, select.POLLIN)
        self._poll.register(self._orders, select.POLLIN)

    def run(self) -> None:
        """Take tasks until the agent closes the pipe."""
        send_news(self._news, SlotNews(round=self._round))
        while record := self._next_task():
            round, lease, candidate, split, members = TASK.unpack(record)
            while round != self._round:
                # The order for this round was sent before its first task.
                self._take_order()
            self._run(lease, candidate, members, split)

    def _run(self, lease: int, candidate: int, bits: bytes, split: int) -> None:
        """Run one task; the page always says which of its members comes next."""
        work = self._work
        assert work is not None
        members = work.members(candidate, bits)
        began = time.monotonic()
        self._status.begin(self._index, lease, members[0], began)
        left = dict.fromkeys(members)
        for result in work.results(lease, self._index, members, split):
            now = time.monotonic()
            timed = msgspec.structs.replace(result, busy_seconds=now - began)
            # Sent before the page says that it ended: a result in the pipe outlives its slot.
            _send(self._news, _encode_result(timed))
            left.pop(result.candidate, None)
            began = time.monotonic()
            if left:
                self._status.begin(self._index, lease, next(iter(left)), began)
        self._status.end(self._index)

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
        """Let go of the last round, and be ready for another one if there is one."""
        if self._work is not None:
            self._work.evaluator.leave_process()
            self._work = None
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
            self._work.evaluator.prepare_process(self._pools)
        except BaseException as error:  # noqa: BLE001 (told to the driver, whatever it is)
            refuse(self._news, order.round, error)
        finally:
            for file, _ in files:
                file.close()
        send_news(self._news, SlotNews(round=order.round))

    def _something_is_left(self) -> bool:
        """Whether a round that is over has left threads or much memory."""
        if threading.active_count() > self._own_threads:
            return True
        return machine.held_bytes(os.getpid()) - machine.held_bytes(os.getppid()) > HELD_BYTES

    def _end_what_fits_started(self) -> None:
        """End the processes in this one's group."""
        # To signal a group and not itself, a process has to be outside of it meanwhile.
        os.setpgid(0, os.getpgid(os.getppid()))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(os.getpid(), signal.SIGKILL)
        os.setpgid(0, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


class RoundOrder(msgspec.Struct, frozen=True):
    """What an agent sends to its slots, with the files of a round's blobs: be ready for it."""

    round: int
    slots: int
    folder: str | None
    """Where slots keep what they share."""

    sizes: tuple[int, ...]
    """Bytes in each of the `BLOBS`. None of them: there is no round any more."""


def send_order(orders: socket.socket, order: RoundOrder, files: Sequence[IO[bytes]]) -> None:
    """Send an order and the open files that it is about, see SCM_RIGHTS in unix(7)."""
    socket.send_fds(orders, [msgspec.msgpack.encode(order)], [file.fileno() for file in files])


def receive_order(orders: socket.socket) -> tuple[RoundOrder, list[tuple[IO[bytes], int]]]:
    """The next order, with each file and the bytes of the blob in it."""
    payload, descriptors, _, _ = socket.recv_fds(orders, ORDER_BYTES, len(BLOBS))
    order = msgspec.msgpack.decode(payload, type=RoundOrder)
    files = [os.fdopen(descriptor, "rb") for descriptor in descriptors]
    return order, list(zip(files, order.sizes, strict=True))


def refuse(news: int, round: int, error: BaseException) -> NoReturn:
    """End this process, as the search cannot be loaded in it."""
    text = "".join(traceback.format_exception(error))
    send_news(news, SlotNews(round=round, refusal=text))
    os._exit(OWN_EXIT)


def send_news(descriptor: int, news: SlotNews) -> None:
    """Write one piece of news to the agent; ends the process when the agent is gone."""
    _send(descriptor, msgspec.msgpack.encode(news))


def _encode_result(result: FitResult) -> bytes:
    """A result as news: whole where it can travel, else with its texts cut, else the reason."""
    try:
        payload = msgspec.msgpack.encode(SlotNews(result=result))
        if len(payload) <= MAX_RESULT:
            return payload
        reason = f"it takes {len(payload)} bytes"
    except (ValueError, TypeError, OverflowError) as error:
        # Text with lone surrogates, for one: MessagePack knows UTF-8 only.
        reason = str(error)
    payload = msgspec.msgpack.encode(SlotNews(result=_cut_result(result)))
    if len(payload) <= MAX_RESULT:
        return payload
    return msgspec.msgpack.encode(SlotNews(result=_unsendable(result, reason)))


def _cut_result(result: FitResult) -> FitResult:
    notes = dict.fromkeys(
        WarningNote(_cut(note.category), _cut(note.message), _cut(note.filename), note.lineno)
        for note in result.warnings[: WARNINGS_LIMIT**2]
    )
    return msgspec.structs.replace(
        result,
        fit_error=result.fit_error and _cut(result.fit_error),
        warnings=tuple(notes)[:WARNINGS_LIMIT],
    )


def _cut(text: str) -> str:
    """Text that is UTF-8 and not long."""
    return shortened(text, TEXT_LIMIT).encode("utf-8", "backslashreplace").decode()


def _unsendable(result: FitResult, reason: str) -> FitResult:
    text = _cut(f"the result of this fit cannot be sent: {reason}")
    return FitResult(
        lease=result.lease,
        candidate=result.candidate,
        slot=result.slot,
        status="raised",
        fit_seconds=result.fit_seconds,
        score_seconds=result.score_seconds,
        busy_seconds=result.busy_seconds,
        fit_error=text,
        exception=records_of(ValueError(text)),
    )


def _send(descriptor: int, payload: bytes) -> None:
    data = memoryview(LENGTH.pack(len(payload)) + payload)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        os._exit(0)


def become_slot(agent: int) -> None:
    """Give this process a slot's signals, and an end when its agent ends.

    Parameters
    ----------
    agent : int
        Process id of the agent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        # prctl(2): the kernel kills this process when the thread that forked it ends.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # When memory runs out the kernel should take a fit, not the agent or the driver.
        with contextlib.suppress(OSError):  # some containers hide the file; it is only a hint
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
    """Entry of a spawned slot: everything it needs comes as file descriptors."""
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
    # A slot ends by SIGKILL, and what a fit printed should be in the log by then.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        loop = _loaded(args)
    except BaseException as error:  # noqa: BLE001 (told to the driver, whatever it is)
        refuse(args.news, args.round, error)
    loop.run()


def _loaded(args: argparse.Namespace) -> SlotLoop:
    """The loop, which alone holds what was loaded: it lets go of it when the round is over."""
    data, search, plan = files = [
        (os.fdopen(descriptor, "rb"), size)
        for descriptor, size in (getattr(args, name) for name in BLOBS)
    ]
    work = load_round(data, search, plan, args.folder, args.slots)
    for file, _ in files:
        file.close()
    pools = ThreadPools(args.threads)
    work.evaluator.prepare_process(pools)
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
