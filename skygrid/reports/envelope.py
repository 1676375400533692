"""The head of every JSON document: version, kind, state, error, exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

FORMAT = 2
"""Version of all documents. New keys need no new version; keys are never removed or changed."""

Kind = Literal["result", "run", "runs", "check", "compare", "nodes", "doctor", "error"]
"""result: a run with the results that it has. run: a run without results. error: a command that
failed before it had anything to report."""

DocumentState = Literal["running", "complete", "failed", "interrupted", "stopped"]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The first keys of every document."""

    format: int
    kind: Kind
    state: DocumentState
    """State of the run in documents about one run; elsewhere complete or failed."""

    error: str | None
    """Message that the command ended with; None if it ended well."""

    exit_code: int | None
    """Exit code that the command ended with; None for a run that has not ended."""


def envelope(
    kind: Kind,
    state: DocumentState = "complete",
    error: str | None = None,
    exit_code: int | None = 0,
) -> dict[str, Any]:
    """Return the first keys of a document."""
    head = Envelope(format=FORMAT, kind=kind, state=state, error=error, exit_code=exit_code)
    return dict(msgspec.to_builtins(head))


def json_text(document: Mapping[str, Any]) -> str:
    """Return a document as indented text."""
    try:
        content = msgspec.json.encode(document)
    except UnicodeEncodeError:  # a file name of bytes that are no UTF-8
        content = msgspec.json.encode(_unicode(document))
    return msgspec.json.format(content, indent=2).decode() + "\n"


def _unicode(value: Any) -> Any:
    """Return data whose texts can be written as UTF-8; other characters become ``?``."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_unicode(key): _unicode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unicode(item) for item in value]
    return value


def error_json(error: str, exit_code: int) -> str:
    """Return the document of a command that failed."""
    return json_text(envelope("error", "failed", error, exit_code))
