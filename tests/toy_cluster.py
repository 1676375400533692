"""A cluster without a library: its gateway carries the agents itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skygrid.nodes.gateway.carrier import AgentCarrier
from skygrid.nodes.gateway.cluster import GatewaySettings
from skygrid.nodes.gateway.server import serve


class ToyCarrier:
    """A carrier in the gateway's own process."""

    def __init__(self, settings: GatewaySettings, data: dict[str, Any]) -> None:
        self.slots = settings.slots or 1
        self._carrier, self._data = AgentCarrier(settings.lease_seconds), data

    async def call(self, method: str, *arguments: Any) -> Any:
        return await getattr(self._carrier, method)(*arguments)

    async def store(self, digest: str) -> str:
        return await self._carrier.store(digest, self._data[digest])

    async def end(self) -> None:
        await self._carrier.kill()


class ToyCluster:
    """Room for any number of nodes."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._data: dict[str, Any] = {}

    async def connect(self) -> int:
        return self._settings.nodes or 1

    async def place(self, index: int, say: Callable[[str], None]) -> ToyCarrier:
        return ToyCarrier(self._settings, self._data)

    async def put(self, digest: str, data: Any) -> None:
        self._data[digest] = data.copy()

    async def forget(self, digest: str) -> None:
        del self._data[digest]

    async def close(self) -> None: ...


if __name__ == "__main__":
    serve(ToyCluster)
