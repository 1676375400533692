"""The findings of `skygrid doctor` as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from skygrid.nodes.records import Finding

FORMAT = 1
"""Version of the JSON document."""


def findings_json(findings: Sequence[Finding]) -> str:
    """Return the findings as one JSON document."""
    document = {"format": FORMAT, "places": msgspec.to_builtins(list(findings))}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
