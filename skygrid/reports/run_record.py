"""``run.json``: the request, the result and the driver of a run."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from skygrid.errors import UsageError
from skygrid.nodes.records import Bill
from skygrid.util.atomic_file import read_versioned, write_atomic
from skygrid.util.process import process_exists

FORMAT = 1
"""Version of the file. New keys need no new version; keys are never removed or changed."""

FILE_NAME = "run.json"

State = Literal["running", "complete", "failed", "interrupted", "stopped"]
"""running: a driver is at work, or was killed. complete: all results exist. failed: the search
itself failed. interrupted: by a signal or the loss of all nodes. stopped: by ``--max-hours`` or
``--max-cost``."""


Instant = Annotated[float, Meta(ge=0, lt=250_000_000_000)]
"""Seconds since the epoch, up to the year 9892: no platform prints years of five digits."""

Count = Annotated[int, Meta(ge=0, lt=2**53)]
"""A number that JSON readers keep exactly."""

ProcessId = Annotated[int, Meta(ge=1, lt=2**31)]
"""A process id, in the range of ``pid_t``."""


class DriverMark(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of the process that drives a run."""

    pid: ProcessId
    host: str
    started: str = ""
    """Start of the process as the kernel records it, which reveals a reused pid; empty if
    unknown."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the run."""

    name: str
    host: str = ""
    cpu: str = ""
    slots: Count = 0
    versions: dict[str, str] = {}
    instance: str = ""
    """The provider's id of the rented instance."""

    instance_type: str = ""
    zone: str = ""
    market: str = ""


class SearchFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a search that its journal does not have."""

    kind: str = ""
    """Class of the search, as ``GridSearchCV``."""

    estimator: str = ""
    """The estimator in one line."""

    metric: str = ""
    """Name of the metric where ``cv_results_`` has only ``score``; empty if unknown."""

    ranked_by: str = ""
    """Metric that chooses the best candidate, if there are several."""

    defaults: dict[str, Any] = {}
    """Parameters of the estimator before the search, as JSON data, without nested objects."""

    data: dict[str, str] = {}
    """Kind and size of X, y and further data."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run."""

    format: int = FORMAT
    id: str
    """Id of the run, hexadecimal; a later session finds the run's agents by it."""

    name: str
    state: State
    search_file: str | None
    """Absolute path; None if the search came from Python."""

    argv: tuple[str, ...]
    config: dict[str, Any]
    """`skygrid.config.config_to_json` of the configuration."""

    started_at: Instant
    """Start of the first session, in seconds since the epoch."""

    ended_at: Instant | None = None
    """End of the last session; None while it runs."""

    driver: DriverMark
    versions: dict[str, str] = {}
    """Versions on the driver: skygrid, python, scikit-learn, numpy, scipy."""

    commit: str | None = None
    """Git commit that was checked out in the search file's folder; None: no repository."""

    commit_changed: bool = False
    """True if the search file was not in that commit as it was."""

    fingerprint: dict[str, str] = {}
    """Parts of the search's fingerprint, by name."""

    search: SearchFacts = SearchFacts()

    fits_total: Count | None = None
    """Fits in the rounds opened so far; None before the first."""

    fits_recorded: Count = 0
    error: str | None = None
    """Message that ended the run; None in the states running and complete."""

    nodes: tuple[NodeRecord, ...] = ()
    bill: Bill | None = None
    """Cost of the nodes at the end of the last session; None if nothing was rented."""

    def seen_state(self) -> State:
        """Return the real state: running without a living driver is interrupted."""
        if self.state == "running" and not driver_alive(self.driver):
            return "interrupted"
        return self.state

    def write(self, folder: Path) -> None:
        """Write the record into a run's folder atomically.

        Raises
        ------
        SkygridError
            If the folder cannot be written to.
        """
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        write_atomic(folder / FILE_NAME, text + b"\n")

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read the record in a run's folder.

        Raises
        ------
        UsageError
            If the folder holds no run, or a later version of skygrid wrote it.
        SkygridError
            If the file cannot be read or decoded.
        """
        hint = "Remove the folder, or mend the file."
        record = read_versioned(folder / FILE_NAME, cls, FORMAT, hint)
        if record is None:
            raise UsageError(f"{folder} holds no run: there is no {FILE_NAME} in it.")
        return record


def driver_mark() -> DriverMark:
    """Return the mark of this process."""
    return DriverMark(pid=os.getpid(), host=platform.node(), started=_started(os.getpid()))


def driver_alive(mark: DriverMark) -> bool:
    """Return True if the marked process still runs, or runs on another machine and cannot be
    checked."""
    if mark.host != platform.node():
        return True
    if not process_exists(mark.pid):
        return False
    return not mark.started or _started(mark.pid) == mark.started


def _started(pid: int) -> str:
    """Return boot id and start time of a process; empty without /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # the process has ended, or this system has no /proc
        return ""
    # Fields 3 (state) and 22 (starttime) of proc(5), counted from after the name. A zombie has
    # ended.
    return "" if fields[0] == "Z" else f"{boot} {fields[19]}"
