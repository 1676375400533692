"""The messages between driver and agent, typed and versioned.

Every message is one msgspec-encoded (MessagePack) value inside one frame (see `frames`). Code and
data travel from the driver to the agent only. What an agent sends is decoded against
`FromAgent` and nothing else: numbers, text and lists of them, never a pickle.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class TypedNumber(msgspec.Struct, frozen=True, array_like=True):
    """A number that is not a Python float, written so that its type and every bit survive."""

    kind: str
    """int, bool, complex, decimal, fraction, or a NumPy dtype such as ``<f4``."""

    text: str
    """The value: hexadecimal digits for int and fraction, the raw bytes in hexadecimal for complex
    and NumPy scalars, Python's own text for the others."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A number of things from a node; what is kept of it fits every column and every float."""

Processors = Annotated[int, msgspec.Meta(ge=1, le=65536)]
"""Slots, or what they run on; no machine has more."""

Digest = Annotated[str, msgspec.Meta(max_length=200)]
"""Name of a blob."""

Scores = float | TypedNumber | dict[str, float | TypedNumber]
"""One score, or one for each name of a multimetric scorer."""


MOST_MEMBERS = 256
"""Candidates in one group at the most: bits of a lease's `Lease.members` in a slot's task.

Each group costs a fit; more would make that fit rarer, and the work that one lease is larger."""


class WarningNote(msgspec.Struct, frozen=True, array_like=True):
    """One warning that a fit issued."""

    category: str
    """``module:qualified name`` of the warning's class."""

    message: str
    filename: str
    lineno: int


class TaggedValue(msgspec.Struct, frozen=True, array_like=True):
    """A value that MessagePack has no type for; see `exception_records` for the kinds."""

    kind: str
    parts: tuple[PlainValue, ...] = ()
    data: bytes = b""


PlainValue = None | bool | int | float | str | TaggedValue
"""A value that an exception holds. It is data: to read it runs no code of a node."""

MOST_EXCEPTIONS = 100
"""Exceptions that travel together: causes, contexts, members of groups."""


class ClassName(msgspec.Struct, frozen=True, array_like=True):
    """A class, by its name."""

    module: str
    qualified: str
    tracked: str = ""
    """Cloudpickle's identifier of a class that came from the driver by value."""


class ExceptionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exception as data. Others that it refers to stand beside it, by their numbers."""

    classes: tuple[ClassName, ...]
    """Its class and the exceptions among that class's bases, in method resolution order."""

    text: PlainValue = None
    """Result of ``str``; None if that raises."""

    args: tuple[PlainValue, ...] = ()
    fields: dict[str, PlainValue] = {}
    """Values of the slots of its classes: ``errno``, ``start``, ..."""

    attributes: dict[str, PlainValue] = {}
    """Content of its ``__dict__``, notes among it."""

    members: tuple[int, ...] = ()
    """Of an exception group."""

    cause: int | None = None
    context: int | None = None
    suppress_context: bool = False


class Lease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The right to run one task, for one node, until it expires or is returned."""

    id: int
    """Unique within the run; the number of the attempt's lease, not of the task."""

    candidate: int
    split: int
    alone: bool = False
    """Run it while no other slot of the node runs anything."""

    members: bytes = b""
    """Bits, the lowest of the first byte being bit 0. Bit i is set: the lease is for member i of
    the candidate's group as the plan lists it; `candidate` is the first of those. Empty: for the
    candidate alone."""

    @property
    def n_tasks(self) -> int:
        """Fits that are asked for."""
        return max(1, int.from_bytes(self.members, "little").bit_count())


# ---- from the driver ---------------------------------------------------------------------------


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """Sent once, after the handshake."""

    protocol: int
    heartbeat_seconds: float = 1.0
    fit_timeout_seconds: float | None = None
    start_method: Literal["fork", "spawn", "auto"] = "auto"
    memory_limit_bytes: int | None = None
    """Kill the largest slot when all slots together pass this; None: nine tenths of the node."""


class BlobOffer(msgspec.Struct, frozen=True, kw_only=True, tag="offer"):
    """Data that the agent may hold or have kept; it answers with `BlobWanted` or `Refusal`."""

    digest: str
    size: int
    url: str | None = None
    """Where what is missing can be fetched, before it is asked for here; None: nowhere."""


class BlobChunk(msgspec.Struct, frozen=True, kw_only=True, tag="chunk"):
    """A piece of a blob; pieces arrive in order, the first one at offset 0."""

    digest: str
    """SHA-256 of the whole blob, in hexadecimal."""

    size: int
    """Bytes in the whole blob."""

    offset: int
    data: bytes
    packed: bool = False
    """Whether the data is compressed; see `packing`."""


class BlobAt(msgspec.Struct, frozen=True, kw_only=True, tag="blob_at"):
    """A blob that lies in a file which the agent can open: driver and node are one machine."""

    name: str
    """What `OpenRound` will call it."""

    size: int
    path: str


class OpenRound(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Make ready to run tasks of this round. The blobs it names were sent before."""

    round: int
    data: str
    """Name of the blob with X, y, fit parameters and score parameters: its digest, where it was
    sent in chunks."""

    search: str
    """Name of the blob with estimator, scorer and settings."""

    plan: str
    """Name of the blob with the round's candidates and splits."""

    keeps: bool = False
    """Whether slots keep for each other what fits have in common: they need a folder for it."""


class Grant(msgspec.Struct, frozen=True, kw_only=True, tag="grant"):
    """Leases for the open round, the most urgent first. May be empty: there is no work now."""

    round: int
    leases: list[Lease]


class Recall(msgspec.Struct, frozen=True, kw_only=True, tag="recall"):
    """Give back up to this many leases that no slot has started."""

    count: int


class Abandon(msgspec.Struct, frozen=True, kw_only=True, tag="abandon"):
    """Stop these leases, started or not; nothing more is wanted of them."""

    leases: list[int]


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """No fit on these splits is to come: what slots have kept of them may go."""

    round: int
    splits: list[int]


class CloseRound(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """Nothing more is wanted of this round: its slots end, and give back their memory. The agent
    closes blobs that are files of the driver's; `BlobAt` names them anew for the next round."""

    round: int


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Start nothing more, wait so long for fits that run, report, say `Bye` and end."""

    grace_seconds: float = 0.0


class Attach(msgspec.Struct, frozen=True, kw_only=True, tag="attach"):
    """From the keeper: another driver begins. End what the last one wanted, and greet again."""


ToAgent = (
    Attach
    | Setup
    | BlobOffer
    | BlobChunk
    | BlobAt
    | OpenRound
    | Grant
    | Recall
    | Abandon
    | Forget
    | CloseRound
    | Stop
)

# ---- from the agent ----------------------------------------------------------------------------


class Greeting(msgspec.Struct, frozen=True, kw_only=True, tag="greeting"):
    """The first message of an agent, and its answer to `Attach`: what the node is."""

    protocol: int
    versions: dict[str, str]
    """python, scikit-learn, numpy, scipy, cloudpickle, msgspec, joblib, and blas."""

    host: str
    cpu: str
    machine: str
    """Architecture as `platform.machine` gives it."""

    vcpus: Processors
    memory_bytes: Count
    slots: Processors
    threads_per_slot: Processors
    pid: Count
    blobs: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=1000)] = ()
    """Digests of blobs that the agent holds complete: they need not be sent."""


class BlobWanted(msgspec.Struct, frozen=True, kw_only=True, tag="wanted"):
    """How much of a blob that was offered is here. Said when that is known, again when all of it
    has come, and again when what came cannot be used. Said of a blob that lies in a file as soon
    as that is open: all of it is here."""

    digest: str
    offset: Count
    """Send the rest from here on; the blob's size: nothing is missing."""


class RoundReady(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """Data and search are in place; slots run, or are about to."""

    round: int


class Pull(msgspec.Struct, frozen=True, kw_only=True, tag="pull"):
    """The agent could take so many more leases."""

    round: int
    count: int


class FitFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Facts about one fit: a slot reports them, the driver records them in the journal.

    A field that is added here, with a default, travels and is recorded without further code.
    """

    test_scores: Scores | None = None
    """None when there is no score: the error score stands in at assembly."""

    train_scores: Scores | None = None
    n_test_samples: Count = 0
    fit_seconds: float = 0.0
    score_seconds: float = 0.0
    busy_seconds: float = 0.0
    """Time that the slot spent on it. `fit_seconds` is that of a separate fit: it is longer where
    another fit has done part of the work."""

    prefix_kept: bool = False
    """The first steps of its pipeline were taken from another fit on this split."""

    fit_error: str | None = None
    """Text of the traceback, or the reason why the fit was given up."""

    warnings: tuple[WarningNote, ...] = ()


class FitResult(FitFacts, frozen=True, kw_only=True, array_like=True, gc=False):
    """Result of one fit, as the slot that ran it reports it."""

    lease: Count
    candidate: Count
    slot: Count
    status: Literal["scored", "failed", "raised"]
    """raised: not `fit` but something around it raised, or any of it under error_score="raise"."""

    exception: Annotated[tuple[ExceptionRecord, ...], msgspec.Meta(max_length=MOST_EXCEPTIONS)] = ()
    """raised: the exception, and behind it all exceptions that it refers to."""

    answered: bool = False
    """No fit was run for it: the fit of the last result of this lease without this mark answered
    this candidate too."""


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """Fits that ended."""

    round: int
    results: list[FitResult]


class SlotDied(msgspec.Struct, frozen=True, kw_only=True, tag="died"):
    """A slot ended while it ran a lease; the agent has replaced it."""

    round: int
    lease: Count
    candidate: Count
    """What it was at: of a lease with several members, the one that was not reported yet."""

    slot: Count
    cause: Literal["signal", "exit", "timeout", "memory"]
    detail: str
    """For a person: ``SIGSEGV``, ``exit code 3``, ``passed 10 s``, and so on."""

    peak_bytes: Count
    seconds: float


class Returned(msgspec.Struct, frozen=True, kw_only=True, tag="returned"):
    """Leases given back unstarted."""

    round: int
    leases: list[int]


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="beat"):
    """The agent lives; every lease it holds is renewed."""

    busy: Count
    """Slots that run a fit."""

    running: list[int]
    """Leases that run now; others that the agent holds have not started."""

    slots_bytes: Count
    """Resident memory of all slots together."""

    load: float
    """The node's load average over one minute."""

    receiving: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """How much of the data has come, while it comes."""


class AgentLog(msgspec.Struct, frozen=True, kw_only=True, tag="log"):
    """A line for the node's log."""

    text: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The agent cannot do what was asked and ends: the search does not load here, for example."""

    reason: str


class Leaving(msgspec.Struct, frozen=True, kw_only=True, tag="leaving"):
    """The machine is about to be taken away. The agent takes no more leases and gives back what
    has not started; fits that run go on and are reported as long as it lasts."""

    reason: str
    seconds: float | None = None
    """How long it may last, where that is known."""


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="bye"):
    """The last message of an agent that was told to stop."""


FromAgent = (
    Greeting
    | BlobWanted
    | RoundReady
    | Pull
    | Report
    | SlotDied
    | Returned
    | Heartbeat
    | AgentLog
    | Refusal
    | Leaving
    | Bye
)
