"""Examination of a node by starting an agent on it, for `skygrid doctor`."""

from __future__ import annotations

import threading
import time

from skygrid.config import limits
from skygrid.errors import NodeError, SkygridError
from skygrid.nodes.handshake import check_greeting
from skygrid.nodes.interface import Provider, Transport
from skygrid.nodes.records import Finding
from skygrid.util.terminal import printable
from skygrid.worker.machine import machine
from skygrid.worker.wire.frames import FrameError, FrameReader
from skygrid.worker.wire.messages.from_agent import FromAgent, Greeting

GIB = 2**30


def examine_node(provider: Provider) -> Finding:
    """Start an agent on the first node of a provider, compare its versions, and end it."""
    name = provider.names()[0]
    begin = time.monotonic()
    transport = provider.transport(name, _Silent())
    try:
        transport.start()
        greeting = _greeting(transport)
        seconds = time.monotonic() - begin
        check_greeting(name, greeting, machine.versions())
    except (SkygridError, OSError) as error:
        return Finding(name=name, problems=(str(error),))
    finally:
        transport.close()
    return Finding(name=name, facts=_facts(greeting, seconds))


def _greeting(transport: Transport) -> Greeting:
    reader = FrameReader(FromAgent)
    hung = threading.Timer(limits.START_SILENCE, transport.kill)
    hung.daemon = True
    hung.start()
    try:
        while data := transport.read():
            for message in reader.feed(data):
                if isinstance(message, Greeting):
                    return message
    except FrameError as error:
        raise NodeError(f"its output is no agent's: {error}") from error
    finally:
        hung.cancel()
    raise NodeError(f"its agent ended at once: {transport.ended()}")


def _facts(greeting: Greeting, seconds: float) -> tuple[str, ...]:
    packages = (
        f"{name} {version}" for name, version in greeting.versions.items() if name != "python"
    )
    facts = (
        f"{greeting.host}: {greeting.machine}, Python {greeting.versions.get('python')}",
        ", ".join(packages),
        f"{greeting.vcpus} vCPUs, {greeting.memory_bytes / GIB:.1f} GiB of memory",
        f"an agent of {greeting.slots} slots started in {seconds:.1f} s",
    )
    return tuple(printable(fact) for fact in facts)


class _Silent:
    """A watcher that drops everything."""

    def state(self, text: str) -> None: ...

    def log(self, data: bytes) -> None: ...
