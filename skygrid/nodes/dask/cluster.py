"""A Dask cluster, through Dask's library. Runs in the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
from distributed import Client, LocalCluster

from skygrid.config import limits
from skygrid.nodes.dask.workers import free_worker, why_unable
from skygrid.nodes.gateway import carrier as carrier_module
from skygrid.nodes.gateway.cluster import GatewaySettings, LostError, UnavailableError
from skygrid.worker.machine import machine

LOGGER = logging.getLogger(__name__)

MOST_CHARACTERS = 300


class DaskCluster:
    """A Dask cluster whose workers have carriers as actors.

    Parameters
    ----------
    settings : GatewaySettings
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._address: str | None = settings.place["address"]
        self._file: str | None = settings.place["scheduler_file"]
        self._own: Any = None
        self._client: Any = None
        self._taken: dict[str, DaskCarrier] = {}
        self._data: dict[str, Any] = {}
        # Workers need not have skygrid.
        cloudpickle.register_pickle_by_value(carrier_module)

    async def connect(self) -> int:
        """Connect to the scheduler, or start a cluster."""
        try:
            self._client = await self._connected()
            threads = await self._client.nthreads()
        except Exception as error:
            raise UnavailableError(self._explained(error)) from error
        self._watching = asyncio.ensure_future(self._watch())
        return self._settings.nodes or max(1, len(threads))

    async def _connected(self) -> Any:
        common: dict[str, Any] = {
            "asynchronous": True,
            "timeout": f"{min(limits.GATEWAY_PROBE, self._settings.connect_seconds)}s",
        }
        if self._file is not None:
            # Dask itself would wait for the file without a limit.
            await asyncio.to_thread(Path(self._file).stat)
            return await Client(scheduler_file=self._file, **common)
        if self._address is not None:
            return await Client(self._address, **common)
        nodes = self._settings.nodes or 1
        self._own = await LocalCluster(
            n_workers=nodes,
            threads_per_worker=self._settings.slots or max(1, machine.vcpus() // nodes),
            asynchronous=True,
            dashboard_address=None,
            # Agents watch their memory themselves, and a nanny would count none of it.
            memory_limit=0,
            local_directory=self._settings.folder,
        )
        return await Client(self._own, asynchronous=True, direct_to_workers=True)

    def _explained(self, error: Exception) -> str:
        text = " ".join(str(error).split())[:MOST_CHARACTERS] or type(error).__name__
        if self._file is not None:
            return (
                f"no Dask scheduler answers that {self._file} names: {text}. Check scheduler_file "
                "under [dask]"
            )
        if self._address is not None:
            return (
                f"no Dask scheduler answers at {self._address}: {text}. Check address under "
                "[dask]; the default port of a scheduler is 8786"
            )
        return f"Dask could not be started on this machine: {text}"

    async def _watch(self) -> None:
        """Note carriers whose worker the scheduler has lost: a call may wait for them for ever."""
        while True:
            await asyncio.sleep(limits.GATEWAY_LOOK)
            try:
                threads = await self._client.nthreads()
            except Exception as error:  # noqa: BLE001  # any: the scheduler is gone
                LOGGER.info("the scheduler does not answer: %s", error)
                threads = {}
            for address, carrier in list(self._taken.items()):
                if address not in threads and not carrier.lost.done():
                    carrier.lost.set_result(f"the Dask worker {address} is gone")

    # -- carriers

    async def place(self, index: int, say: Callable[[str], None]) -> DaskCarrier:
        """Wait for a worker without a node, and create an actor on it."""
        queued = False
        while True:
            threads = await self._threads()
            address = free_worker(threads, self._taken)
            if address is not None:
                return await self._placed(address, threads[address])
            if not queued:
                queued = True
                say("queued for a worker")
            await self._ask_for_workers(bool(threads))

    async def _threads(self) -> dict[str, int]:
        try:
            return dict(await self._client.nthreads())
        except Exception as error:
            raise UnavailableError(self._explained(error)) from error

    async def _ask_for_workers(self, some: bool) -> None:
        """Wait a moment. A task that waits makes an adaptive cluster without workers start one."""
        wish = None if some else self._client.submit(int, pure=False)
        try:
            await asyncio.sleep(limits.GATEWAY_LOOK)
        finally:
            if wish is not None:
                wish.release()

    async def _placed(self, address: str, threads: int) -> DaskCarrier:
        carrier = DaskCarrier(self._client, address, self._data, self._settings.slots or threads)
        # Before the first wait: another node must not get this worker too.
        self._taken[address] = carrier
        carrier.on_end = lambda: self._taken.pop(address, None)
        try:
            problem = await self._problem_of(address)
            if problem is not None:
                raise UnavailableError(problem)
            await carrier.create(self._settings.lease_seconds)
        except BaseException:
            await carrier.end()
            raise
        LOGGER.info("node on %s", address)
        return carrier

    async def _problem_of(self, address: str) -> str | None:
        found = await self._client.get_versions(check=False)
        return why_unable(found["workers"].get(address, {}))

    # -- data

    async def put(self, digest: str, data: Any) -> None:
        """Scatter data to a worker; others get it from there."""
        # A copy: the caller's memory is gone when this returns.
        (self._data[digest],) = await self._client.scatter([data.copy()], hash=False)

    async def forget(self, digest: str) -> None:
        """Drop data from the workers."""
        future = self._data.pop(digest, None)
        if future is not None:
            future.release()

    async def close(self) -> None:
        """Disconnect; end a cluster that was started here."""
        if hasattr(self, "_watching"):
            self._watching.cancel()
        for one in (self._client, self._own):
            if one is not None:
                with contextlib.suppress(Exception):  # it is gone
                    await one.close()


class DaskCarrier:
    """An actor on a worker.

    Parameters
    ----------
    client : Client
    address : str
        The worker's.
    data : dict
        Futures of data by digest.
    slots : int
        Slots of the agent.
    """

    def __init__(self, client: Any, address: str, data: dict[str, Any], slots: int) -> None:
        self._client, self._address, self._data = client, address, data
        self.slots = slots
        self._future: Any = None
        self._actor: Any = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_end: Callable[[], object] = lambda: None

    async def create(self, lease_seconds: float) -> None:
        """Create the actor.

        Raises
        ------
        LostError
        """
        self._future = self._client.submit(
            carrier_module.AgentCarrier,
            lease_seconds,
            actor=True,
            workers=[self._address],
            allow_other_workers=False,
            pure=False,
        )
        self._actor = await self._unless_lost(self._future)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the actor."""
        if self.lost.done():
            raise LostError(self.lost.result())
        return await self._unless_lost(self._called(method, arguments))

    async def _called(self, method: str, arguments: Sequence[Any]) -> Any:
        return await getattr(self._actor, method)(*arguments)

    async def _unless_lost(self, answer: Any) -> Any:
        task = asyncio.ensure_future(answer)
        try:
            await asyncio.wait({task, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LostError(self.lost.result())
            return task.result()
        except (LostError, asyncio.CancelledError):
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:MOST_CHARACTERS] or type(error).__name__
            raise LostError(f"its Dask worker {self._address} is lost: {text}") from error
        finally:
            task.cancel()

    async def store(self, digest: str) -> str:
        """Bring data to the worker, and there into a file."""
        task = self._client.submit(
            _store_there,
            self._future.key,
            digest,
            self._data[digest],
            workers=[self._address],
            allow_other_workers=False,
            pure=False,
        )
        return str(await self._unless_lost(task))

    async def end(self) -> None:
        """Kill the agent and release the actor."""
        if self._actor is not None and not self.lost.done():
            with contextlib.suppress(Exception):  # the worker is gone, and the agent with it
                async with asyncio.timeout(limits.AGENT_END):
                    await self.call("kill")
        if self._future is not None:
            self._future.release()
        self.on_end()


def _store_there(key: str, digest: str, data: Any) -> str:
    """Store data in the actor of a worker; a task of that worker."""
    from distributed import get_worker

    worker = get_worker()
    actor = worker.state.actors[key]
    coroutine = actor.store(digest, data)
    return str(asyncio.run_coroutine_threadsafe(coroutine, worker.loop.asyncio_loop).result())
