"""Messages of a slot to its agent: results, and the answer to an order to load a round."""

from __future__ import annotations

import os
import struct
import traceback
from typing import NoReturn

import msgspec

from skygrid.worker.evaluation.exception_records import TEXT_LIMIT, records_of, shortened
from skygrid.worker.limits import MAX_RESULT
from skygrid.worker.wire.messages.calls import CallDone
from skygrid.worker.wire.messages.results import DURATIONS, MOST_WARNINGS, FitResult, WarningNote

LENGTH = struct.Struct("<I")
WARNINGS_LIMIT = 20
"""Number of different warnings that are kept when a result is cut."""

OWN_EXIT = 97
"""Exit code of a slot that ends itself: it refuses a round, or a round left threads, memory or
its data."""


class SlotNews(msgspec.Struct, frozen=True, omit_defaults=True):
    """Message of a slot to its agent, sent after its length (little-endian, 32 bits)."""

    round: int = -1
    """The round that the slot is ready for, or refuses."""

    refusal: str = ""
    """Traceback of the failure to load the round; empty if the slot does not refuse."""

    result: FitResult | None = None
    call: CallDone | None = None


def refuse(news: int, round: int, error: BaseException) -> NoReturn:
    """Report that the round cannot be loaded in this process, and end it."""
    text = "".join(traceback.format_exception(error))
    send_news(news, SlotNews(round=round, refusal=text))
    os._exit(OWN_EXIT)


def send_news(descriptor: int, news: SlotNews) -> None:
    """Write a message to the agent; end this process if the agent is gone."""
    _send(descriptor, msgspec.msgpack.encode(news))


def send_result(descriptor: int, result: FitResult | CallDone) -> None:
    """Write a result to the agent; end this process if the agent is gone."""
    _send(descriptor, _encode_result(result))


def _encode_result(result: FitResult | CallDone) -> bytes:
    """Encode a result: whole if possible, else with its texts cut, else as a failure."""
    try:
        payload = _encode(result)
        if len(payload) <= MAX_RESULT and len(result.warnings) <= MOST_WARNINGS:
            return payload
        reason = f"it takes {len(payload)} bytes"
    except (ValueError, TypeError, OverflowError) as error:
        # For example text with lone surrogates, which UTF-8 cannot encode.
        reason = str(error)
    payload = _encode(_cut_result(result))
    if len(payload) <= MAX_RESULT:
        return payload
    return _encode(_unsendable(result, reason))


def _encode(result: FitResult | CallDone) -> bytes:
    if isinstance(result, CallDone):
        return msgspec.msgpack.encode(SlotNews(call=result))
    return msgspec.msgpack.encode(SlotNews(result=result))


def _cut_result(result: FitResult | CallDone) -> FitResult | CallDone:
    notes = dict.fromkeys(
        WarningNote(_cut(note.category), _cut(note.message), _cut(note.filename), note.lineno)
        for note in result.warnings[: WARNINGS_LIMIT**2]
    )
    return msgspec.structs.replace(
        result,
        fit_error=result.fit_error and _cut(result.fit_error),
        warnings=tuple(notes)[:WARNINGS_LIMIT],
    )


def _cut(text: str) -> str:
    """Return a text as valid UTF-8 of limited length."""
    return shortened(text, TEXT_LIMIT).encode("utf-8", "backslashreplace").decode()


def _unsendable(result: FitResult | CallDone, reason: str) -> FitResult | CallDone:
    text = _cut(f"the result of this fit cannot be sent: {reason}")
    if isinstance(result, CallDone):
        return CallDone(
            lease=result.lease,
            slot=result.slot,
            status="raised",
            fit_error=text,
            exception=records_of(ValueError(text)),
            busy_seconds=result.busy_seconds,
        )
    return FitResult(
        lease=result.lease,
        candidate=result.candidate,
        slot=result.slot,
        status="raised",
        fit_error=text,
        exception=records_of(ValueError(text)),
        **{name: getattr(result, name) for name in DURATIONS},
    )


def _send(descriptor: int, payload: bytes) -> None:
    data = memoryview(LENGTH.pack(len(payload)) + payload)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        os._exit(0)
