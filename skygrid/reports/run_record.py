"""``run.json``: what was asked of a run, what became of it, who drives it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Literal

import msgspec

from skygrid.errors import UsageError
from skygrid.util.atomic_file import read_versioned, write_atomic

from .money import Bill

FORMAT = 1
"""Version of the file. A key is added without a new version; never removed or changed."""

FILE_NAME = "run.json"

State = Literal["running", "complete", "failed", "interrupted", "stopped"]
"""running: a driver is at it, or died without a word. complete: everything is there. failed: the
search itself failed. interrupted: by a signal, or its nodes were lost. stopped: by
``--max-hours`` or ``--max-cost``."""


class DriverMark(msgspec.Struct, frozen=True, kw_only=True):
    """Enough to tell whether the process that drives a run is still there."""

    pid: int
    host: str
    started: str = ""
    """When the process began, in the kernel's own terms; tells it from a later one of that pid.
    Empty where the kernel does not say."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the run."""

    name: str
    host: str = ""
    cpu: str = ""
    slots: int = 0
    versions: dict[str, str] = {}
    instance: str = ""
    """The instance that was rented for it, by the provider's id."""

    instance_type: str = ""
    zone: str = ""
    market: str = ""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as its folder tells it."""

    format: int = FORMAT
    id: str
    """The run's own mark, hexadecimal; by it a later session finds agents of this one."""

    name: str
    state: State
    search_file: str | None
    """Absolute path; None when the search came from Python."""

    argv: tuple[str, ...]
    config: dict[str, Any]
    """`skygrid.config.config_to_json` of the configuration."""

    started_at: float
    """Seconds since the epoch: the first session's start."""

    ended_at: float | None = None
    """The last session's end; None while it runs."""

    driver: DriverMark
    versions: dict[str, str] = {}
    """Of the driver: skygrid, python, scikit-learn, numpy, scipy."""

    fingerprint: dict[str, str] = {}
    """The parts of the search's fingerprint, by name."""

    fits_total: int | None = None
    """None until the first round is open; of a halving search the rounds opened so far."""

    fits_recorded: int = 0
    error: str | None = None
    """The message that ended the run, for every state but running and complete."""

    nodes: tuple[NodeRecord, ...] = ()
    bill: Bill | None = None
    """What its nodes cost, as its last session left it; None where nothing was rented."""

    def seen_state(self) -> State:
        """Return the state as it really is: running without a driver is interrupted."""
        if self.state == "running" and not driver_alive(self.driver):
            return "interrupted"
        return self.state

    def write(self, folder: Path) -> None:
        """Write the record into a run's folder, in one step.

        Raises
        ------
        SkygridError
            If the folder cannot be written to.
        """
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        write_atomic(folder / FILE_NAME, text + b"\n")

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read the record of a run from its folder.

        Raises
        ------
        UsageError
            If the folder holds no run, or one that a later version of skygrid wrote.
        SkygridError
            If the file cannot be read or is not such a record.
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
    """Return whether the process that left this mark still runs.

    A process of another machine cannot be asked; it is taken to be alive.
    """
    if mark.host != platform.node():
        return True
    try:
        os.kill(mark.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process: it is there
    return not mark.started or _started(mark.pid) == mark.started


def _started(pid: int) -> str:
    """Return boot id and start time of a process, empty where /proc does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # Fields 3 (state) and 22 (starttime) of proc(5), counted after the name in parentheses. A
    # zombie has ended.
    return "" if fields[0] == "Z" else f"{boot} {fields[19]}"
