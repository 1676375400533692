"""Work and results of a round of calls."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .exceptions import MOST_EXCEPTIONS, ExceptionRecord
from .fields import MOST_IN_HAND, Count, Seconds
from .results import MOST_WARNINGS, WarningNote

MOST_PATH = 4096
"""Most characters in the path of a file, as on Linux."""


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Work of a lease in a round of calls."""

    lease: int
    data: bytes
    """Pickle of a `CallBatch`."""

    blobs: tuple[str, ...] = ()
    """Names of the blobs that it refers to. They were sent before."""


class FetchResult(msgspec.Struct, frozen=True, kw_only=True, tag="fetch"):
    """Send the next part of a result that is in a file (`CallDone.size`). At the end of the file:
    delete it."""

    round: int
    lease: int
    offset: int


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
