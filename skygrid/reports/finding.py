"""What a look at a place where searches run has found."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

FORMAT = 1
"""Version of the JSON document."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One place, and what was found there."""

    name: str
    problems: tuple[str, ...] = ()
    """What keeps a search from running there; each says what to do."""

    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What may be worth knowing and stops nothing."""


def findings_json(findings: Sequence[Finding]) -> str:
    """Return the findings as one JSON document."""
    document = {"format": FORMAT, "places": msgspec.to_builtins(list(findings))}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
