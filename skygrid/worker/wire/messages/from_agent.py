"""Messages of an agent to the driver: numbers, text and lists; pickles in `calls` only."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .calls import CallReport, ResultPart
from .fields import Count, Digest, Leases, Processors, Seconds
from .results import Report

MOST_BLOBS = 1000
"""Most blobs in a greeting. A node may have more after calls with many arguments."""


class Greeting(msgspec.Struct, frozen=True, kw_only=True, tag="greeting"):
    """First message of an agent, and its answer to `Attach`: facts about the node."""

    protocol: int
    versions: dict[str, str]
    """Versions of python, scikit-learn, numpy, scipy, cloudpickle, msgspec, joblib, and blas."""

    host: str
    cpu: str
    machine: str
    """Architecture, from `platform.machine`."""

    vcpus: Processors
    memory_bytes: Count
    slots: Processors
    threads_per_slot: Processors
    pid: Count
    blobs: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MOST_BLOBS)] = ()
    """Digests of blobs that the agent has completely."""


class BlobWanted(msgspec.Struct, frozen=True, kw_only=True, tag="wanted"):
    """Number of bytes that the agent has of a blob.

    Sent in answer to `BlobOffer`, when the blob is complete, when received bytes turn out to be
    unusable, and when a blob of `BlobAt` is open.
    """

    digest: str
    offset: Count
    """First byte to send; equal to the blob's size if none is missing."""


class RoundReady(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """Data and search are loaded; slots run or are about to start."""

    round: int


class Pull(msgspec.Struct, frozen=True, kw_only=True, tag="pull"):
    """Request for up to `count` further leases."""

    round: int
    count: int


class SlotDied(msgspec.Struct, frozen=True, kw_only=True, tag="died"):
    """A slot ended while it ran a lease; the agent has replaced it."""

    round: int
    lease: Count
    candidate: Count
    """Candidate that was running; for a lease with several members, the first unreported one. In a
    round of calls: position of the call in its batch."""

    slot: Count
    cause: Literal["signal", "exit", "timeout", "memory"]
    detail: str
    """Text for people: ``SIGSEGV``, ``exit code 3``, ``passed 10 s``, ..."""

    peak_bytes: Count
    seconds: Seconds


class Returned(msgspec.Struct, frozen=True, kw_only=True, tag="returned"):
    """Leases returned before they were started."""

    round: int
    leases: Leases


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="beat"):
    """The agent is alive; renews every lease that it holds."""

    busy: Count
    """Number of slots that run a fit."""

    running: Leases
    """Leases that run; the agent's other leases have not started."""

    slots_bytes: Count
    """Resident memory of all slots together."""

    load: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    """The node's load average over one minute."""

    receiving: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Fraction of the data received so far; None when no data is being received."""


class AgentLog(msgspec.Struct, frozen=True, kw_only=True, tag="log"):
    """A line for the node's log."""

    text: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The agent cannot carry out a request and exits: the search may not load, for example."""

    reason: str


class Leaving(msgspec.Struct, frozen=True, kw_only=True, tag="leaving"):
    """The machine will be taken away. The agent takes no more leases and returns those not started;
    running fits go on and are reported while the machine lasts."""

    reason: str
    seconds: Seconds | None = None
    """Expected time until the machine ends; None if unknown."""


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="bye"):
    """Last message of an agent that received `Stop`."""


FromAgent = (
    Greeting
    | BlobWanted
    | RoundReady
    | Pull
    | Report
    | CallReport
    | ResultPart
    | SlotDied
    | Returned
    | Heartbeat
    | AgentLog
    | Refusal
    | Leaving
    | Bye
)
