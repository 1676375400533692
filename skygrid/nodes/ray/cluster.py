"""A Ray cluster, through Ray's library. Runs in the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from skygrid.config import limits
from skygrid.nodes.gateway import carrier as carrier_module
from skygrid.nodes.gateway.cluster import GatewaySettings, LostError, UnavailableError
from skygrid.nodes.ray.requests import (
    Machine,
    door_of,
    machines_of,
    options_of,
    slots_of_nodes,
    why_never,
)
from skygrid.worker.machine import machine

LOGGER = logging.getLogger(__name__)

CLIENT_ATTEMPTS = 3
"""Attempts to start a session through Ray Client."""

MOST_CHARACTERS = 300
"""Longest reason of a lost actor; Ray's own texts are pages of advice."""


class RayCluster:
    """A Ray cluster that carries agents in actors.

    Actors are not detached: Ray ends them when this process is gone.

    Parameters
    ----------
    settings : GatewaySettings
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._address: str | None = settings.place["address"]
        self._resources: dict[str, float] = settings.place["resources"]
        self._concurrency = settings.slots
        if self._address is None and settings.slots is None:
            self._concurrency = max(1, machine.vcpus() // (settings.nodes or 1))
        self._door: tuple[str, int] | None = None
        self._machines: Sequence[Machine] = ()
        self._slots: Sequence[int] = ()
        self._data: dict[str, Any] = {}
        # Nodes need not have skygrid.
        ray.cloudpickle.register_pickle_by_value(carrier_module)
        self._actor: Any = ray.remote(carrier_module.AgentCarrier)

    async def connect(self) -> int:
        """Connect to the cluster, or start one. Blocks the loop, on the main thread.

        Ray's own processes end with the thread that started them.
        """
        self._door = door_of(self._address)
        self._refuse_silence()
        try:
            self._initialise()
            self._machines = machines_of(ray.nodes())
            if self._door is None:
                self._door = door_of(ray.get_runtime_context().gcs_address)
        except Exception as error:
            raise UnavailableError(self._explained(error)) from error
        self._slots = slots_of_nodes(self._machines, self._settings.nodes, self._concurrency)
        if not self._slots:
            raise UnavailableError("no machine of the Ray cluster has CPUs: set nodes")
        return len(self._slots)

    def _initialise(self) -> None:
        """Connect Ray; repeat what its client server failed to start, which is often a race."""
        for attempts_left in reversed(range(CLIENT_ATTEMPTS)):
            try:
                ray.init(**self._arguments())
                return
            except ConnectionAbortedError as error:
                if not attempts_left:
                    raise
                LOGGER.info("Ray's client server failed, it is asked again: %s", error)

    def _arguments(self) -> dict[str, Any]:
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._settings.environment:
            common["runtime_env"] = self._settings.environment
        if self._address is not None:
            return {"address": self._address, **common}
        return {
            "address": "local",
            "num_cpus": (self._settings.nodes or 1) * (self._concurrency or 1),
            "include_dashboard": False,
            # Not reachable from other machines.
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": self._settings.folder,
            **common,
        }

    def _explained(self, error: Exception) -> str:
        text = " ".join(str(error).split())
        if "Traceback" in text:
            text = str(error).strip().splitlines()[-1]  # of the server; it says what happened
        text = text[: 2 * MOST_CHARACTERS]
        if self._address is None:
            return f"Ray could not be started on this machine: {text}"
        return f"the Ray cluster at {self._address} cannot be used: {text}"

    # -- carriers

    async def place(self, index: int, say: Callable[[str], None]) -> RayCarrier:
        """Create an actor and wait until Ray has started it."""
        try:
            return await self._placed(index, say)
        except (UnavailableError, LostError):
            raise
        except Exception as error:
            raise UnavailableError(self._explained(error)) from error

    async def _placed(self, index: int, say: Callable[[str], None]) -> RayCarrier:
        slots = self._slots[min(index, len(self._slots) - 1)]
        await asyncio.get_running_loop().run_in_executor(None, self._refuse_silence)
        await self._refuse_impossible(slots)
        options = options_of(slots, self._resources)
        actor = self._actor.options(**options, scheduling_strategy=self._strategy(index)).remote(
            self._settings.lease_seconds
        )
        carrier = RayCarrier(actor, self._data, slots)
        try:
            await self._started(carrier, slots, say)
        except BaseException:
            await carrier.end()
            raise
        return carrier

    def _strategy(self, index: int) -> Any:
        if self._settings.nodes is None and self._address is not None:
            wanted = self._machines[min(index, len(self._machines) - 1)]
            return NodeAffinitySchedulingStrategy(wanted.id, soft=True)
        return "SPREAD"

    async def _started(self, carrier: RayCarrier, slots: int, say: Callable[[str], None]) -> None:
        answer = asyncio.ensure_future(carrier.call("here"))
        try:
            queued = False
            while not (await asyncio.wait({answer}, timeout=limits.GATEWAY_LOOK))[0]:
                await self._refuse_impossible(slots)
                if not queued:
                    queued = True
                    say(f"queued for {slots} CPUs")
            LOGGER.info("Ray placed a node on %s", answer.result())
        finally:
            answer.cancel()

    async def _refuse_impossible(self, slots: int) -> None:
        if self._settings.place["autoscaling"]:
            return
        nodes = await asyncio.get_running_loop().run_in_executor(None, ray.nodes)
        problem = why_never(machines_of(nodes), slots, self._resources)
        if problem is not None:
            raise UnavailableError(problem)

    def _refuse_silence(self) -> None:
        """Refuse a cluster that accepts no connection: Ray itself would try for minutes."""
        if self._door is None:
            return
        try:
            with socket.create_connection(self._door, limits.GATEWAY_PROBE):
                return
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnavailableError(
                f"no Ray cluster answers at {self._address or 'this machine'}: {reason}. Check "
                "address under [ray]; ray://HOST has port 10001 by default, HOST without ray:// "
                "port 6379"
            ) from error

    # -- data

    async def put(self, digest: str, data: Any) -> None:
        """Put data into the object store."""
        loop = asyncio.get_running_loop()
        self._data[digest] = await loop.run_in_executor(None, ray.put, data)

    async def forget(self, digest: str) -> None:
        """Drop data from the object store."""
        self._data.pop(digest, None)

    async def close(self) -> None:
        """Disconnect; Ray ends the actors, and itself if it was started here."""
        self._data.clear()
        with contextlib.suppress(UnavailableError):  # it is gone, and would be waited for
            self._refuse_silence()
            with contextlib.suppress(Exception):  # it is gone by now
                ray.shutdown()


class RayCarrier:
    """An actor.

    Parameters
    ----------
    actor : ActorHandle
    data : dict
        References to objects by digest.
    slots : int
        Slots of the agent.
    """

    def __init__(self, actor: Any, data: dict[str, Any], slots: int) -> None:
        self._actor, self._data, self.slots = actor, data, slots

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the actor."""
        try:
            return await getattr(self._actor, method).remote(*arguments)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise LostError(why_lost(error)) from error

    async def store(self, digest: str) -> str:
        """Bring an object to the actor, mapped from the object store of its machine."""
        return str(await self.call("store", digest, self._data[digest]))

    async def end(self) -> None:
        """Kill the actor, or withdraw it."""
        with contextlib.suppress(Exception):  # Ray is gone, and the actor with it
            ray.kill(self._actor, no_restart=True)


def why_lost(error: Exception) -> str:
    """Return in one line why an actor does not answer."""
    text = " ".join(str(error).split())
    if isinstance(error, ray.exceptions.RuntimeEnvSetupError):
        # The text has a traceback, whose last line says what happened.
        last = str(error).strip().splitlines()[-1].strip()
        return f"Ray could not make the [environment] on the node: {last}"[:MOST_CHARACTERS]
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return "its Ray actor cannot be reached"
    if isinstance(error, ray.exceptions.RayActorError):
        found = re.search(r"The actor is dead because (.*?)(?:Worker exit detail|$)", text)
        text = f"its Ray actor died: {found[1] if found else text}"
    return text[:MOST_CHARACTERS].strip()
