"""The program of a gateway: it joins sockets of the driver to carriers on the nodes of a cluster.

Standard input is a socket to the driver, with one JSON object on each line. The driver opens one
channel for each agent by sending the end of a socket pair. The gateway ends when the driver closes
standard input, and ends all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import select
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from skygrid.config import limits
from skygrid.nodes.command import boot
from skygrid.nodes.command.agent_start import MINOR, AgentStart
from skygrid.nodes.gateway.carrier import ENDED, HEADER, STARTED, STATE, STORED, identity
from skygrid.nodes.gateway.cluster import (
    Carrier,
    Cluster,
    GatewaySettings,
    LostError,
    UnavailableError,
)
from skygrid.nodes.gateway.lines import Lines

LOGGER = logging.getLogger(__name__)

UPWARD_BYTES = 1 << 20
"""Most bytes for the agent in one call of its carrier."""


def serve(make: Callable[[GatewaySettings], Cluster]) -> None:
    """Run a gateway on standard input until the driver closes it.

    Parameters
    ----------
    make : callable
        Returns the cluster of some settings, not connected yet.
    """
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    # The library's own processes inherit standard input: it must not be the driver's socket.
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    lines = Lines(control)
    first = lines.wait()
    if first is None:
        return
    settings = msgspec.convert(first, GatewaySettings)
    # On the main thread: libraries set signal handlers and tie their processes to this thread.
    asyncio.run(Server(make(settings), settings, lines).run())
    # The driver deletes it too, unless it was killed.
    shutil.rmtree(settings.folder, ignore_errors=True)
    # Not the library's own clean-up at exit: it would wait for a cluster that is gone.
    logging.shutdown()
    os._exit(0)


def start_order(settings: GatewaySettings, slots: int) -> dict[str, Any]:
    """Return what `carrier.AgentCarrier.start` needs."""
    return {
        "program": Path(boot.__file__).read_text(encoding="utf-8"),
        "minor": MINOR,
        "code": AgentStart(arguments=(), hash_seed=0, pythons=()).code,
        "origin": identity(),
        "hash_seed": str(settings.hash_seed),
        "arguments": ["--slots", str(slots), "--vcpus", str(slots)],
    }


class Server:
    """The channels of a gateway. All methods run on one event loop.

    Parameters
    ----------
    cluster : Cluster
    settings : GatewaySettings
    lines : Lines
        The connection to the driver.
    """

    def __init__(self, cluster: Cluster, settings: GatewaySettings, lines: Lines) -> None:
        self._cluster = cluster
        self._settings = settings
        self._lines = lines
        self._channels: dict[int, Channel] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._data: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Connect, serve channels until the driver is gone, end everything."""
        loop = asyncio.get_running_loop()
        watch = threading.Thread(target=self._await_hangup, args=(loop,), daemon=True)
        watch.start()
        try:
            await self._connect()
            loop.add_reader(self._lines.socket, self._take_orders)
            await self._over.wait()
        finally:
            await self._end()

    async def _connect(self) -> None:
        try:
            nodes = await self._cluster.connect()
        except UnavailableError as error:
            self._tell({"event": "failed", "reason": str(error)})
            self._over.set()
            return
        self._tell({"event": "connected", "nodes": nodes})

    def _tell(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the driver is gone, and `_await_hangup` ends the rest
            self._lines.send(event)

    async def _end(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._cluster.close()

    def _await_hangup(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the gateway once the driver is gone, even if the library keeps the loop busy."""
        poll = select.poll()
        poll.register(self._lines.socket, getattr(select, "POLLRDHUP", 0))
        poll.poll()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._over.set)
        threading.Event().wait(limits.GATEWAY_END)
        os._exit(1)

    # -- orders

    def _take_orders(self) -> None:
        orders = self._lines.take()
        if orders is None:
            asyncio.get_running_loop().remove_reader(self._lines.socket)
            self._over.set()
            return
        for order in orders:
            self._take_order(order)

    def _take_order(self, order: dict[str, Any]) -> None:
        number = order.get("channel", -1)
        match order["do"]:
            case "open":
                channel = Channel(self._lines.descriptors.pop(0))
                self._channels[number] = channel
                self._tasks[number] = asyncio.ensure_future(
                    self._serve(number, channel, order["index"])
                )
            case "kill" if number in self._tasks:
                self._tasks[number].cancel()
            case "put":
                file = self._lines.descriptors.pop(0)
                self._data[order["digest"]] = asyncio.ensure_future(
                    self._put(order["digest"], file, order["size"])
                )
            case "store" if number in self._channels:
                self._background(self._store(self._channels[number], order["digest"]))
            case "forget":
                self._background(self._forget(order["digest"]))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine; the loop itself keeps no reference to it."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _put(self, digest: str, file: int, size: int) -> None:
        try:
            with mmap.mmap(file, size, access=mmap.ACCESS_READ) as mapped:
                array = np.frombuffer(mapped, dtype=np.uint8)
                await self._cluster.put(digest, array)
                del array
        except BufferError:
            LOGGER.debug("the library still maps %s", digest)
        finally:
            os.close(file)

    async def _store(self, channel: Channel, digest: str) -> None:
        path = ""
        try:
            await self._data[digest]
            if channel.carrier is not None:
                path = await channel.carrier.store(digest)
        except Exception as error:  # noqa: BLE001  # any: the driver then sends the data itself
            LOGGER.warning(
                "the cluster does not take the data: %s: %s", type(error).__name__, error
            )
        with contextlib.suppress(OSError):  # the driver has closed the channel
            await channel.send(STORED, path.encode())

    async def _forget(self, digest: str) -> None:
        task = self._data.pop(digest, None)
        if task is None:
            return
        with contextlib.suppress(Exception):  # it was not stored: there is nothing to forget
            await task
        with contextlib.suppress(Exception):  # a cluster that is gone has forgotten it
            await self._cluster.forget(digest)
        for channel in self._channels.values():
            if channel.carrier is not None:
                with contextlib.suppress(LostError):  # its files are gone too
                    await channel.carrier.call("forget", digest)

    # -- channels

    async def _serve(self, number: int, channel: Channel, index: int) -> None:
        """Start a carrier and its agent; pass bytes until one end is gone."""
        try:
            await self._start(channel, index)
            await channel.pump()
        except (LostError, UnavailableError) as error:
            with contextlib.suppress(OSError):  # the driver has closed the channel
                await channel.send(ENDED, str(error).encode())
        except OSError:  # the driver has closed the channel
            return
        except Exception as error:
            LOGGER.exception("channel %d", number)
            with contextlib.suppress(OSError):  # as above
                await channel.send(ENDED, f"{type(error).__name__}: {error}".encode())
        finally:
            # A second cancellation must not leave the carrier alive.
            await asyncio.shield(self._end_channel(number, channel))

    async def _start(self, channel: Channel, index: int) -> None:
        def say(text: str) -> None:
            self._background(channel.send(STATE, text.encode()))

        channel.carrier = carrier = await self._cluster.place(index, say)
        order = start_order(self._settings, carrier.slots)
        await channel.send(STATE, b"preparing")
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                problem = await carrier.call("start", order)
        except TimeoutError:
            raise UnavailableError(
                f"no agent answered within {self._settings.start_seconds:g} s (start_timeout)"
            ) from None
        if problem:
            raise UnavailableError(problem)
        await channel.send(STARTED, b"")

    async def _end_channel(self, number: int, channel: Channel) -> None:
        if channel.carrier is not None:
            await channel.carrier.end()
        channel.socket.close()
        del self._channels[number], self._tasks[number]


class Channel:
    """The gateway's end of the socket of one agent.

    Parameters
    ----------
    descriptor : int
        Descriptor of the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)
        self.carrier: Carrier | None = None
        self._sending = asyncio.Lock()

    async def send(self, kind: bytes, content: bytes) -> None:
        """Send a parcel to the driver."""
        await self._send(struct.pack(HEADER, kind, len(content)) + content)

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def pump(self) -> None:
        """Pass bytes both ways until the agent has ended.

        Raises
        ------
        LostError
            If the carrier is lost.
        OSError
            If the driver is gone.
        """
        upward = asyncio.ensure_future(self._upward())
        downward = asyncio.ensure_future(self._downward())
        try:
            await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
            if not downward.done():
                # The driver sends no more: the agent ends, and its last bytes arrive.
                upward.result()
                async with asyncio.timeout(limits.AGENT_END):
                    await asyncio.shield(downward)
            downward.result()
        except TimeoutError:
            LOGGER.info("an agent ignores the end of its input")
        finally:
            for task in (upward, downward):
                task.cancel()
            await asyncio.gather(upward, downward, return_exceptions=True)

    async def _upward(self) -> None:
        assert self.carrier is not None
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self.socket, UPWARD_BYTES):
            await self.carrier.call("write", data)
        await self.carrier.call("close_input")

    async def _downward(self) -> None:
        assert self.carrier is not None
        data = await self.carrier.call("read")
        while data:
            # The next output is on its way while this one is passed on.
            following = asyncio.ensure_future(self.carrier.call("read"))
            try:
                await self._send(data)
            except BaseException:
                following.cancel()
                raise
            data = await following
