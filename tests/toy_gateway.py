"""Settings of a gateway to the cluster of toys, and a watcher that keeps nothing."""

from __future__ import annotations

from skygrid.nodes.gateway.cluster import GatewaySettings
from tests.processes import WAIT_SECONDS

SETTINGS = GatewaySettings(
    place={},
    nodes=1,
    slots=1,
    hash_seed=0,
    connect_seconds=WAIT_SECONDS,
    start_seconds=WAIT_SECONDS,
    lease_seconds=WAIT_SECONDS,
    folder="",
)


class SilentWatcher:
    """A watcher of a transport that keeps nothing."""

    def state(self, text: str) -> None: ...

    def log(self, data: bytes) -> None: ...
