"""A run as it is now: its record, and what its journal holds by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .run_record import RunRecord, State


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What `skygrid runs` and `skygrid show` say of a run."""

    folder: str
    record: RunRecord
    state: State
    """As it really is: interrupted when the driver is gone."""

    fits_recorded: int

    @property
    def resumable(self) -> bool:
        """Whether `skygrid resume` would go on with it."""
        return self.state in ("interrupted", "stopped", "failed")


def run_json(view: RunView) -> str:
    """Return one JSON document: the run's record with what is known by now, and its folder."""
    return msgspec.json.format(msgspec.json.encode(_document(view)), indent=2).decode() + "\n"


def runs_json(views: Sequence[RunView]) -> str:
    """Return one JSON document: a list of what `run_json` gives for each run."""
    documents = [_document(view) for view in views]
    return msgspec.json.format(msgspec.json.encode(documents), indent=2).decode() + "\n"


def _document(view: RunView) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(view.record),
        "state": view.state,
        "fits_recorded": view.fits_recorded,
        "folder": view.folder,
    }
