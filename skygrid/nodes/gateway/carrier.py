"""The carrier of an agent: an actor on a node of a cluster.

It starts the agent and carries its bytes.

The class travels by value to nodes that have no skygrid: it uses the standard library only. Its
methods run on one event loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

HEADER = ">cI"
"""Format of a parcel's header: its kind, and bytes of its content. Not a Struct, which cannot be
pickled by value."""

DATA, LOG, STATE, STARTED, STORED, ENDED, ALIVE = (b"d", b"l", b"s", b"a", b"u", b"e", b"k")
"""Kinds of parcels to the driver: bytes of the channel and of the log, a state of the node, the
start of the agent, the path of a stored blob, the end, and nothing new."""

READ_BYTES = 1 << 16
MOST_WAITING_BYTES = 1 << 20
"""Output that waits for `AgentCarrier.read`; at this size no more is read from the agent."""

POLL_SECONDS = 5.0
"""Longest time that `AgentCarrier.read` waits. It is far below any lease."""

LOG_END_SECONDS = 1.0
"""Time for the rest of the log after the end of the agent; a child may keep its log open."""


class AgentCarrier:
    """An agent's process and its pipes.

    Parameters
    ----------
    lease_seconds : float
        Time without a call of `read` after which the driver is gone and the agent is killed.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._process: Any = None
        self._mark = b""
        self._noise = bytearray()
        self._started = asyncio.Event()
        self._output = bytearray()
        self._news = asyncio.Event()
        self._paused: list[Any] = []
        self._open = 0
        self._over = False
        self._writable: Any = None
        self._heard = time.monotonic()
        self._files: dict[str, int] = {}
        self._tasks: list[Any] = []

    # -- the start

    async def here(self) -> str:
        """Return the name of this node."""
        return os.uname().nodename

    async def start(self, order: dict[str, Any]) -> str:
        """Start the agent and wait until it runs.

        Parameters
        ----------
        order : dict
            As `server.start_order` makes it.

        Returns
        -------
        problem : str
            Reason why no agent can run here; empty if it runs.
        """
        self._heard = time.monotonic()
        boot: dict[str, Any] = {"__name__": "boot"}
        exec(order["program"], boot)  # skygrid's own program, as it would run behind -c
        code = b"" if self._has_code(order["origin"]) else order["code"]
        problem = boot["problem"](order["minor"], len(code))
        if problem:
            return f"{os.uname().nodename} cannot run the agent with {sys.executable}: {problem}"
        self._mark = boot["MARK"]
        seed, arguments = order["hash_seed"], order["arguments"]
        words = [sys.executable, "-c", order["program"], "start", str(len(code)), seed, *arguments]
        loop = asyncio.get_running_loop()
        self._process = await loop.run_in_executor(None, _run, words)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            os.set_blocking(pipe.fileno(), False)
        loop.add_reader(self._process.stdout, self._take, self._process.stdout, DATA)
        loop.add_reader(self._process.stderr, self._take, self._process.stderr, LOG)
        self._open = 2
        self._tasks = [asyncio.ensure_future(self._finish()), asyncio.ensure_future(self._watch())]
        await self._write(code)
        await self._started.wait()
        return "" if self._mark == b"" else self._early_end()

    def _has_code(self, origin: list[Any]) -> bool:
        """Return whether this is the driver's machine, Python and installation of skygrid."""
        return origin == identity()

    def _early_end(self) -> str:
        said = (bytes(self._noise) + bytes(self._output)).decode(errors="replace").strip()
        return f"its agent ended at once: {_end_of(self._process)}\n{said[-2000:]}".strip()

    # -- the agent's output

    def _take(self, pipe: Any, kind: bytes) -> None:
        try:
            data = os.read(pipe.fileno(), READ_BYTES)
        except BlockingIOError:  # a false alarm of the event loop
            return
        if not data:
            asyncio.get_running_loop().remove_reader(pipe)
            self._open -= 1
            self._news.set()
            return
        if kind == DATA and self._mark:
            data = self._after_mark(data)
        if data:
            self._add(kind, data)
        if len(self._output) > MOST_WAITING_BYTES:
            asyncio.get_running_loop().remove_reader(pipe)
            self._paused.append((pipe, kind))

    def _after_mark(self, data: bytes) -> bytes:
        """Return the bytes after the mark, which follows anything that a start-up file printed."""
        self._noise += data
        _, mark, rest = bytes(self._noise[-len(data) - len(self._mark) :]).partition(self._mark)
        if not mark:
            return b""
        self._mark = b""
        self._started.set()
        return rest

    def _add(self, kind: bytes, data: bytes) -> None:
        self._output += struct.pack(HEADER, kind, len(data)) + data
        self._news.set()

    async def read(self) -> bytes:
        """Wait for parcels to the driver; empty after the end."""
        self._heard = time.monotonic()
        if not self._output and not self._over:
            try:
                await asyncio.wait_for(self._news.wait(), POLL_SECONDS)
            except asyncio.TimeoutError:  # noqa: UP041  # the newer name is not in every Python
                return struct.pack(HEADER, ALIVE, 0)
        data = bytes(self._output)
        self._output.clear()
        self._news.clear()
        for pipe, kind in self._paused:
            asyncio.get_running_loop().add_reader(pipe, self._take, pipe, kind)
        self._paused.clear()
        return data or (b"" if self._over else struct.pack(HEADER, ALIVE, 0))

    async def _finish(self) -> None:
        """Report the end of the agent, and end what it left behind."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._process.wait)
        until = time.monotonic() + LOG_END_SECONDS
        while self._open and time.monotonic() < until and not self._paused:  # noqa: ASYNC110  # two pipes and a clock
            await asyncio.sleep(0.01)
        for pipe in (self._process.stdout, self._process.stderr):
            loop.remove_reader(pipe)
        _end_session(self._process.pid)
        if self._writable is not None:
            _resolve(self._writable)
        await self.close_input()
        self._add(ENDED, _end_of(self._process).encode())
        self._over = True
        self._started.set()
        for digest in list(self._files):
            await self.forget(digest)

    # -- the agent's input

    async def write(self, data: bytes) -> None:
        """Write to the agent; return when its pipe has taken all. After its end do nothing."""
        self._heard = time.monotonic()
        await self._write(data)

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._process.stdin.closed:
            try:
                view = view[os.write(self._process.stdin.fileno(), view) :]
            except BlockingIOError:
                await self._room()
            except BrokenPipeError:  # `read` reports the end
                return

    async def _room(self) -> None:
        """Wait until the agent's pipe takes bytes, or the agent has ended."""
        loop = asyncio.get_running_loop()
        pipe = self._process.stdin.fileno()
        self._writable = room = loop.create_future()
        loop.add_writer(pipe, _resolve, room)
        try:
            await room
        finally:
            loop.remove_writer(pipe)

    async def close_input(self) -> None:
        """Close the agent's input, which ends the agent."""
        if self._process is not None:
            self._process.stdin.close()

    # -- data

    async def store(self, digest: str, data: Any) -> str:
        """Keep data in a file of this node.

        Parameters
        ----------
        digest : str
        data : object with a buffer

        Returns
        -------
        path : str
            Path for the agent; empty if the node has no room.
        """
        if digest not in self._files:
            loop = asyncio.get_running_loop()
            try:
                self._files[digest] = await loop.run_in_executor(None, _file_with, memoryview(data))
            except OSError:  # the driver sends the data through the channel, where errors are named
                return ""
        return f"/proc/{os.getpid()}/fd/{self._files[digest]}"

    async def forget(self, digest: str) -> None:
        """Drop the file of some data; the agent may still have it open."""
        if digest in self._files:
            os.close(self._files.pop(digest))

    # -- the end

    async def kill(self) -> None:
        """Kill the agent."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    async def _watch(self) -> None:
        """Kill the agent of a driver that is gone: a cluster may keep actors longer."""
        while not self._over:
            await asyncio.sleep(self._lease_seconds / 8)
            if time.monotonic() - self._heard > self._lease_seconds:
                await self.kill()


def identity() -> list[Any]:
    """Return what identifies a machine, a Python and an installation of skygrid; [] if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        found = find_spec("skygrid")
        status = os.stat(found.origin)  # type: ignore[union-attr, arg-type]
    except (OSError, AttributeError, TypeError, ValueError):  # another system, or no skygrid
        return []
    return [boot, os.getuid(), sys.executable, status.st_dev, status.st_ino]


def _resolve(future: Any) -> None:
    if not future.done():
        future.set_result(None)


def _run(words: list[str]) -> Any:
    # Threads of a cluster's library may block signals, and a child inherits that.
    before = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_of(process: Any) -> str:
    code = process.wait()
    if code >= 0:
        return f"exit code {code}"
    known = -code in {one.value for one in signal.Signals}
    return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"


def _end_session(leader: int) -> None:
    """Kill the processes that fits started and that outlived the agent. Linux only."""
    if not os.path.isdir("/proc") or os.path.exists(f"/proc/{leader}"):
        return
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.getsid(int(entry)) == leader:
                os.kill(int(entry), signal.SIGKILL)
        except OSError:  # it has just ended, or belongs to another user
            continue


def _file_with(data: memoryview) -> int:
    """Return the descriptor of a new unnamed file in memory with this content."""
    with open("/proc/meminfo") as lines:  # see proc_meminfo(5)
        room = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 0)
    if data.nbytes > room * 1024:
        raise OSError("no room")
    file = os.memfd_create("skygrid-data")
    try:
        view = data.cast("B")
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        os.close(file)
        raise
    return file
