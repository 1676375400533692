"""Gateways as processes: their loss, their restart, their data. The cluster needs no library."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from skygrid.errors import NodeError
from skygrid.nodes.gateway.channel import GatewayChannel
from skygrid.nodes.gateway.process import Gateway
from skygrid.nodes.interface import ON_NODE
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import FromAgent, Greeting
from tests.processes import leaving_nothing, wait_until
from tests.toy_gateway import SETTINGS, SilentWatcher


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Return a gateway to a cluster of toys; nothing may stay."""
    with leaving_nothing():
        gateway = Gateway("tests.toy_cluster", "toys", SETTINGS)
        yield gateway
        gateway.close()


def greeted(gateway: Gateway) -> tuple[GatewayChannel, Greeting]:
    """Start a channel and wait for its agent's greeting."""
    channel = GatewayChannel(gateway, 0, SilentWatcher())
    channel.start()
    reader = FrameReader(FromAgent)
    while data := channel.read():
        for message in reader.feed(data):
            assert isinstance(message, Greeting)
            return channel, message
    raise AssertionError(channel.ended())


def test_a_killed_gateway_is_a_lost_node_and_is_started_again(gateway: Gateway) -> None:
    """kill -9 of the gateway ends its channels with the signal; the next channel has a new one."""
    channel, greeting = greeted(gateway)
    (process,) = [one for one in psutil.Process(greeting.pid).parents() if _is_gateway(one)]
    process.kill()
    while channel.read():
        pass
    assert channel.ended().startswith("the gateway to toys ended: killed by SIGKILL")
    assert channel.error() is None
    with pytest.raises(OSError):  # each system has its own message
        channel.write(b"x" * 10_000_000)
    channel.close()
    following, _ = greeted(gateway)
    following.close()


def _is_gateway(process: psutil.Process) -> bool:
    return "tests.toy_cluster" in process.cmdline()


def test_data_is_a_file_of_the_node_while_its_blob_exists(gateway: Gateway) -> None:
    """Data is brought to the node by the cluster, and dropped there with the driver's blob."""
    channel, _ = greeted(gateway)
    blob = Blob(np.arange(100_000))
    url = _url(channel, blob)
    assert url is not None
    path = url.removeprefix(ON_NODE)
    with open(path, "rb") as file:
        assert file.read() == b"".join(data for _, data in blob.chunks())
    del blob
    gc.collect()
    wait_until(lambda: not os.path.exists(path), "the data to be dropped")
    channel.close()


def _url(channel: GatewayChannel, blob: Blob) -> str | None:
    # The answer arrives in the thread that reads.
    threading.Thread(target=channel.read, daemon=True).start()
    return channel.url_of(blob)


def test_a_gateway_that_cannot_start_is_explained() -> None:
    """The last lines of a gateway that ends at once are in the message."""
    gateway = Gateway("tests.no_such_cluster", "toys", SETTINGS)
    with leaving_nothing():
        with pytest.raises(NodeError, match=r"exit code 1\n.*No module named tests.no_such"):
            gateway.connection()
        gateway.close()


def test_close_ends_a_wait_for_the_cluster(gateway: Gateway) -> None:
    """A gateway that is closed while it connects fails at once, and cannot be started again."""
    gateway.close()
    with pytest.raises(NodeError, match="it was closed"):
        gateway.connection()
