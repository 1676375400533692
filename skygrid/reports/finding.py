"""The findings of `skygrid doctor` as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from skygrid.errors import SkygridError
from skygrid.nodes.records import Finding

from .envelope import envelope, json_text


def findings_json(findings: Sequence[Finding], trouble: SkygridError | None = None) -> str:
    """Return the findings as one JSON document; `trouble`: the error that the command ends with."""
    head = envelope("doctor")
    if trouble is not None:
        head = envelope("doctor", "failed", str(trouble), trouble.exit_code)
    return json_text(head | {"places": msgspec.to_builtins(list(findings))})
