"""Messages between driver and agent, typed and versioned.

Each message is one MessagePack value in one frame (see `frames`). Code and data travel from driver
to agent only: agents' messages are decoded as `FromAgent`, which holds numbers, text and lists,
never a pickle.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MOST_DIGITS = 10_000
"""Most characters of a `TypedNumber`: the time to read a fraction grows with their square."""

MOST_SECONDS = 1e9
"""Largest duration in a message, in seconds: 31 years."""

Seconds = Annotated[float, msgspec.Meta(ge=-MOST_SECONDS, le=MOST_SECONDS)]
"""Duration from a node; negative if its clock was set back."""


class TypedNumber(msgspec.Struct, frozen=True, array_like=True):
    """A number other than a Python float, with its type and every bit."""

    kind: str
    """int, bool, complex, decimal, fraction, or a NumPy dtype such as ``<f4``."""

    text: Annotated[str, msgspec.Meta(max_length=MOST_DIGITS)]
    """Hexadecimal digits for int and fraction, hexadecimal raw bytes for complex and NumPy scalars,
    Python's own text for the others."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Non-negative integer from a node that a float and a SQLite column hold exactly."""

Line = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""Number of a line, as the compiler stores it."""

Processors = Annotated[int, msgspec.Meta(ge=1, le=65536)]
"""Number of slots or processors; larger than any machine has."""

MOST_IN_HAND = 100_000
"""Most leases that a node may ask for at a time, and most leases or results in one message."""

MOST_WARNINGS = 50_000
"""Most warnings in one result. Fewer already reach the limit in bytes, unless they are empty."""

Leases = Annotated[list[int], msgspec.Meta(max_length=MOST_IN_HAND)]
"""Leases that a node names. A list of small numbers takes eight times its size on the wire."""

Digest = Annotated[str, msgspec.Meta(max_length=200)]
"""Name of a blob."""

MOST_BLOBS = 1000
"""Most blobs in a greeting. A node may have more after calls with many arguments."""

MOST_PATH = 4096
"""Most characters in the path of a file, as on Linux."""

Scores = float | TypedNumber | dict[str, float | TypedNumber]
"""One score, or one for each name of a multimetric scorer."""


MOST_MEMBERS = 256
"""Most candidates in one group, and so the most bits of `Lease.members`.

A larger group would save little more, and its lease would run longer.
"""


class WarningNote(msgspec.Struct, frozen=True, array_like=True):
    """A warning that a fit raised."""

    category: str
    """``module:qualified name`` of the warning's class."""

    message: str
    filename: str
    lineno: Line


class TaggedValue(msgspec.Struct, frozen=True, array_like=True):
    """A value of a type that MessagePack lacks; `exception_records` lists the kinds."""

    kind: str
    parts: tuple[PlainValue, ...] = ()
    data: bytes = b""


PlainValue = None | bool | int | float | str | TaggedValue
"""A value in an exception, as data: reading it runs no code from a node."""

MOST_EXCEPTIONS = 100
"""Most exceptions in one result: causes, contexts, members of groups."""


class ClassName(msgspec.Struct, frozen=True, array_like=True):
    """Name of a class."""

    module: str
    qualified: str
    tracked: str = ""
    """Cloudpickle's identifier of a class that the driver sent by value."""

    place: str = ""
    """Path of the class from its module, if its qualified name does not lead to it: a function may
    have made the class."""


class ExceptionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exception as data. It refers to other exceptions of its result by their index."""

    classes: tuple[ClassName, ...]
    """Its class and that class's bases that are exceptions, in method resolution order."""

    text: PlainValue = None
    """Result of ``str``; None if that raises."""

    args: tuple[PlainValue, ...] = ()
    fields: dict[str, PlainValue] = {}
    """Values of the slots of its classes: ``errno``, ``start``, ..."""

    attributes: dict[str, PlainValue] = {}
    """Content of its ``__dict__``, including ``__notes__``."""

    members: tuple[int, ...] = ()
    """Members of an exception group."""

    cause: int | None = None
    context: int | None = None
    suppress_context: bool = False


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


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Work of a lease in a round of calls."""

    lease: int
    data: bytes
    """Pickle of a `CallBatch`."""

    blobs: tuple[str, ...] = ()
    """Names of the blobs that it refers to. They were sent before."""


# ---- from the driver ---------------------------------------------------------------------------


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


class FetchResult(msgspec.Struct, frozen=True, kw_only=True, tag="fetch"):
    """Send the next part of a result that is in a file (`CallDone.size`). At the end of the file:
    delete it."""

    round: int
    lease: int
    offset: int


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

# ---- from the agent ----------------------------------------------------------------------------


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


class FitFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Facts about one fit, reported by a slot and recorded in the journal.

    A new field with a default travels and is recorded without further code.
    """

    test_scores: Scores | None = None
    """None if the fit has no score; the driver then uses the error score."""

    train_scores: Scores | None = None
    n_test_samples: Count = 0
    fit_seconds: Seconds = 0.0
    score_seconds: Seconds = 0.0
    busy_seconds: Seconds = 0.0
    """Seconds that the slot spent. `fit_seconds` is the time of a separate fit, which is longer if
    another fit did part of the work."""

    prefix_kept: bool = False
    """True if first steps of its pipeline come from another fit on this split."""

    fit_error: str | None = None
    """Text of the traceback, or the reason why the fit was given up."""

    warnings: Annotated[tuple[WarningNote, ...], msgspec.Meta(max_length=MOST_WARNINGS)] = ()


DURATIONS = tuple(field.name for field in msgspec.structs.fields(FitFacts) if field.type == Seconds)
"""Fields of `FitFacts` that are durations."""


class FitResult(FitFacts, frozen=True, kw_only=True, array_like=True, gc=False):
    """Result of one fit, reported by its slot."""

    lease: Count
    candidate: Count
    slot: Count
    status: Literal["scored", "failed", "raised"]
    """"failed": `fit` raised. "raised": code around `fit` raised, or the error score is "raise"."""

    exception: Annotated[tuple[ExceptionRecord, ...], msgspec.Meta(max_length=MOST_EXCEPTIONS)] = ()
    """If raised: the exception, followed by all exceptions that it refers to."""

    answered: bool = False
    """True if no fit ran for it: the lease's last result without this flag comes from the fit that
    answers this candidate too."""


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """Results of fits that ended."""

    round: int
    results: Annotated[list[FitResult], msgspec.Meta(max_length=MOST_IN_HAND)]


class CallDone(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """End of a lease in a round of calls.

    The results are a pickle, which is opened only where the user trusts the nodes.
    """

    lease: Count
    slot: Count
    status: Literal["returned", "raised"]
    data: bytes = b""
    """Pickle of the list of results, or of the exception if it can be pickled."""

    size: Count = 0
    """Bytes of this pickle in a file of the node; 0 if `data` has it."""

    path: Annotated[str, msgspec.Meta(max_length=MOST_PATH)] = ""
    """Path of this file."""

    busy_seconds: Seconds = 0.0
    fit_error: str | None = None
    """If raised: text of the traceback."""

    exception: Annotated[tuple[ExceptionRecord, ...], msgspec.Meta(max_length=MOST_EXCEPTIONS)] = ()
    """If raised: as in `FitResult`."""

    warnings: Annotated[tuple[WarningNote, ...], msgspec.Meta(max_length=MOST_WARNINGS)] = ()


class CallReport(msgspec.Struct, frozen=True, kw_only=True, tag="calls"):
    """Calls that ended."""

    round: int
    results: Annotated[list[CallDone], msgspec.Meta(max_length=MOST_IN_HAND)]


class ResultPart(msgspec.Struct, frozen=True, kw_only=True, tag="part"):
    """Part of a result, in answer to `FetchResult`."""

    round: int
    lease: Count
    offset: Count
    data: bytes


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
