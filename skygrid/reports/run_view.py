"""The present state of a run: its record and the content of its journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skygrid.errors import SkygridError
from skygrid.util.atomic_file import DOCUMENT_BYTES
from skygrid.util.regular_file import read_regular

from .envelope import envelope, json_text
from .result_json import FILE_NAME, is_about, read_document
from .run_record import RunRecord, State


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of `result.json` for a list of runs."""

    metric: str = ""
    best_score: float | None = None
    candidates: int = 0


@dataclass(frozen=True, kw_only=True)
class RunView:
    """Data for `skygrid runs` and `skygrid show`."""

    folder: str
    record: RunRecord
    state: State
    """The real state: interrupted if the driver is gone."""

    fits_recorded: int
    headline: Headline | None = None
    """Best score and size of the search; None without results."""

    @property
    def name(self) -> str:
        """The name by which commands find the run: that of its folder."""
        return Path(self.folder).name

    @property
    def given(self) -> str:
        """The shortest argument by which commands find the run: its name, or its folder."""
        usual = Path(self.folder).parent == Path("skygrid-runs")
        return self.name if usual else self.folder

    @property
    def resumable(self) -> bool:
        """True if `skygrid resume` can continue the run; a failed search would fail again, and the
        search of a Python program is there only."""
        there = self.record.search_file is not None
        return there and self.state in ("interrupted", "stopped")


def read_headline(folder: Path) -> Headline | None:
    """Read the headline of a run's results; None if there are none, or they cannot be read."""
    try:
        content = read_regular(folder / FILE_NAME, DOCUMENT_BYTES)
        return msgspec.json.decode(content, type=Headline)
    except (OSError, msgspec.DecodeError):  # the list shows the run without its score
        return None


def metric_name(record: RunRecord) -> str:
    """Return the name of the metric that ``cv_results_`` calls ``score``; empty if unknown."""
    search = msgspec.to_builtins(record).get("search") or {}
    return str(search.get("metric") or "")


def metric_of_run(folder: Path) -> str:
    """Return `metric_name` of a run's record; empty if the record cannot be read."""
    try:
        return metric_name(RunRecord.read(folder))
    except SkygridError:  # the results matter more than this name
        return ""


def run_json(view: RunView) -> str:
    """Return one JSON document: the run's record with its present state, and its folder."""
    head = envelope("run", view.state, view.record.error, None)
    return json_text(head | _document(view))


def shown_json(view: RunView) -> str:
    """Return the JSON document of a run: that of its results, if it has them.

    Raises
    ------
    SkygridError
        If the file with the results cannot be read.
    """
    folder = Path(view.folder)
    if view.record.state == "running" or not is_about(folder, view.record.state):
        return run_json(view)
    return read_document(folder)


def runs_json(views: Sequence[RunView]) -> str:
    """Return one JSON document, with the content of `run_json` for each run under ``runs``."""
    return json_text(envelope("runs") | {"runs": [_document(view) for view in views]})


def _document(view: RunView) -> dict[str, Any]:
    record = msgspec.to_builtins(view.record)
    del record["format"]  # the version of run.json
    return {
        **record,
        "state": view.state,
        "fits_recorded": view.fits_recorded,
        "folder": view.folder,
    }
