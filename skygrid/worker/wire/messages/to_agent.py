"""Messages of the driver to an agent. Code and data travel in this direction only."""

from __future__ import annotations

from typing import Literal

import msgspec

from .calls import Call, FetchResult

MOST_MEMBERS = 256
"""Most candidates in one group, and so the most bits of `Lease.members`.

A larger group would save little more, and its lease would run longer.
"""


class Lease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Permission for one node to run one task, until it expires or is returned."""

    id: int
    """Unique within the run; another attempt at the task has another id."""

    candidate: int
    split: int
    alone: bool = False
    """If true, run it while no other slot of the node is busy."""

    members: bytes = b""
    """Bit set of the leased members of the candidate's group, in the plan's order; bit 0 is the
    lowest bit of the first byte, and `candidate` is the first leased member. Empty for the
    candidate alone."""

    @property
    def n_tasks(self) -> int:
        """Number of leased tasks."""
        return max(1, int.from_bytes(self.members, "little").bit_count())


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """First message after the handshake, sent once."""

    protocol: int
    heartbeat_seconds: float = 1.0
    fit_timeout_seconds: float | None = None
    start_method: Literal["fork", "spawn", "auto"] = "auto"
    memory_limit_bytes: int | None = None
    """Memory of all slots above which the largest is killed; None for nine tenths of the node's."""


class BlobOffer(msgspec.Struct, frozen=True, kw_only=True, tag="offer"):
    """Offer of a blob; the agent answers with `BlobWanted` or `Refusal`."""

    digest: str
    size: int
    url: str | None = None
    """Address from which the agent may fetch missing bytes before it requests them; None for no
    address."""


class BlobChunk(msgspec.Struct, frozen=True, kw_only=True, tag="chunk"):
    """Part of a blob; parts arrive in order from offset 0."""

    digest: str
    """SHA-256 of the whole blob, in hexadecimal."""

    size: int
    """Bytes in the whole blob."""

    offset: int
    data: bytes
    packed: bool = False
    """True if the data is compressed; see `packing`."""


class BlobAt(msgspec.Struct, frozen=True, kw_only=True, tag="blob_at"):
    """A blob in a file that the agent can open, because driver and node are one machine."""

    name: str
    """Name of the blob in `OpenRound`."""

    size: int
    path: str


class OpenRound(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Prepare for the tasks of a round. Its blobs were sent before."""

    round: int
    data: str
    """Name of the blob with X, y, fit parameters and score parameters. The name of a blob that was
    sent in chunks is its digest."""

    search: str
    """Name of the blob with estimator, scorer and settings."""

    plan: str
    """Name of the blob with the round's candidates and splits."""

    keeps: bool = False
    """True if slots share files, for which they need a folder."""

    calls: bool = False
    """True if the leases are calls, see `Grant.calls`."""

    blobs: tuple[str, ...] = ()
    """Names of further blobs that the node keeps."""

    environment: dict[str, str | None] = {}
    """Environment variables that slots need when their interpreters start; None: unset."""


class Grant(msgspec.Struct, frozen=True, kw_only=True, tag="grant"):
    """Leases of the open round, the most urgent first; empty if no work is left for now."""

    round: int
    leases: list[Lease]
    calls: list[Call] = []
    """In a round of calls: one for each lease."""


class DropBlobs(msgspec.Struct, frozen=True, kw_only=True, tag="drop"):
    """Delete blobs that no lease needs."""

    names: list[str]


class Recall(msgspec.Struct, frozen=True, kw_only=True, tag="recall"):
    """Return up to `count` leases that no slot has started."""

    count: int


class Abandon(msgspec.Struct, frozen=True, kw_only=True, tag="abandon"):
    """Stop these leases, started or not; their results are ignored."""

    leases: list[int]


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """Delete files of these splits that slots have kept: no fit on them follows."""

    round: int
    splits: list[int]


class CloseRound(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """End the round: stop its slots and close blobs that are files of the driver. `BlobAt` names
    such blobs again for the next round."""

    round: int


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Start no more fits, wait up to `grace_seconds` for running ones, report them, send `Bye` and
    exit."""

    grace_seconds: float = 0.0


class Attach(msgspec.Struct, frozen=True, kw_only=True, tag="attach"):
    """Sent by the keeper when another driver connects: drop the last driver's work and send
    `Greeting`."""


class Alive(msgspec.Struct, frozen=True, kw_only=True, tag="alive"):
    """The driver lives. Sent where a channel does not end with its driver."""


ToAgent = (
    Alive
    | Attach
    | Setup
    | BlobOffer
    | BlobChunk
    | BlobAt
    | OpenRound
    | Grant
    | DropBlobs
    | FetchResult
    | Recall
    | Abandon
    | Forget
    | CloseRound
    | Stop
)
