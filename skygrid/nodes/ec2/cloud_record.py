"""``cloud.json`` in a run's folder: requests to AWS, recorded before they are sent.

After the driver was killed, a later session reads from it the launches that may have happened,
their region and their cost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from skygrid.config import limits
from skygrid.errors import FolderError, UsageError
from skygrid.util.atomic_file import read_versioned, write_atomic

from .records import CloudNode, Pool

LOGGER = logging.getLogger(__name__)

FILE_NAME = "cloud.json"
FORMAT = 1
"""Version of the file. New keys need no new version; keys are never removed or changed."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One intended launch and its result."""

    node: str
    generation: int
    token: str
    pool: Pool
    asked_at: float
    """Time of the first call, in seconds since the epoch, as all times here."""

    tried_at: float = 0.0
    """Time of the last repetition of the call; 0 if there was none."""

    instance_id: str | None = None
    launched_at: float = 0.0
    ended_at: float = 0.0
    """0 while the instance may still run."""

    refused: bool = False
    """True if the API refused, so that nothing was launched."""

    @property
    def open(self) -> bool:
        """True if the launch may have produced an instance of unknown id."""
        return self.instance_id is None and not self.refused

    @property
    def last_call_at(self) -> float:
        """Time of the last call that may have launched an instance, by this machine's clock."""
        return max(self.asked_at, self.tried_at)


class CloudRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Content of the file."""

    format: int = FORMAT
    run_id: str
    region: str
    account: str
    bucket: str | None = None
    group_id: str | None = None
    alive_at: float = 0.0
    """Time of the driver's last sign of life."""

    launches: tuple[Launch, ...] = ()


def read_cloud_record(folder: Path) -> CloudRecord | None:
    """Read the file in a run's folder; None if the run never had nodes on AWS.

    Raises
    ------
    UsageError
        If a later version of skygrid wrote it.
    SkygridError
        If it cannot be read.
    """
    return read_versioned(folder / FILE_NAME, CloudRecord, FORMAT)


class FleetStore:
    """Writer of the file. Thread-safe.

    A launch and a security group are on disk before AWS is asked for them. Other facts are kept in
    memory if the file cannot be written, and are written with the next change.

    Parameters
    ----------
    folder : Path
        The run's folder.
    fresh : CloudRecord
        Initial record of a run without a file.

    Raises
    ------
    UsageError
        If the run was started in another region or account.
    """

    def __init__(self, folder: Path, fresh: CloudRecord) -> None:
        self._path = folder / FILE_NAME
        self._lock = threading.Lock()
        found = read_cloud_record(folder)
        if found is not None and (found.region, found.account) != (fresh.region, fresh.account):
            raise UsageError(
                f"the run has had nodes in {found.region} of account {found.account}, and this is "
                f"{fresh.region} of {fresh.account}: go on with it there, or begin a new run"
            )
        self._record = fresh if found is None else found

    @property
    def record(self) -> CloudRecord:
        """The current record."""
        return self._record

    def intend(self, node: str, pool: Pool, token: Callable[[int], str], now: float) -> Launch:
        """Record an intended launch under a new generation of its node.

        Parameters
        ----------
        token : callable
            Returns the client token of a generation.
        """
        with self._lock:
            generation = 1 + sum(1 for one in self._record.launches if one.node == node)
            launch = Launch(
                node=node, generation=generation, token=token(generation), pool=pool, asked_at=now
            )
            launches = (*self._record.launches, launch)
            self._write_first(msgspec.structs.replace(self._record, launches=launches))
            return launch

    def tried(self, launch: Launch, now: float) -> None:
        """Record that the call of a launch is about to be repeated."""
        self._change(launch, tried_at=now)

    def launched(self, launch: Launch, instance_id: str, at: float) -> None:
        """Record the instance of a launch."""
        self._change(launch, instance_id=instance_id, launched_at=at)

    def refused(self, launch: Launch) -> None:
        """Record that a launch was refused."""
        self._change(launch, refused=True)

    def found(self, nodes: Iterable[CloudNode]) -> None:
        """Record the instances of launches whose answer was lost, so that their cost is counted."""
        with self._lock:
            launches = with_late_instances(self._record.launches, nodes)
            if launches != self._record.launches:
                self._write(msgspec.structs.replace(self._record, launches=launches))

    def ended(self, ends: dict[str, float]) -> None:
        """Record ends by instance id; earlier entries are kept."""
        with self._lock:
            changed = tuple(
                msgspec.structs.replace(one, ended_at=ends[one.instance_id])
                if one.instance_id in ends and not one.ended_at
                else one
                for one in self._record.launches
            )
            if changed != self._record.launches:
                self._write(msgspec.structs.replace(self._record, launches=changed))

    def group(self, group_id: str | None) -> None:
        """Record the security group."""
        with self._lock:
            self._write_first(msgspec.structs.replace(self._record, group_id=group_id))

    def alive(self, now: float) -> None:
        """Record that the driver is alive, at most once per `limits.EC2_ALIVE`."""
        with self._lock:
            if now - self._record.alive_at >= limits.EC2_ALIVE:
                self._write(msgspec.structs.replace(self._record, alive_at=now))

    def torn_down(self) -> None:
        """Record that nothing is left of the run."""
        with self._lock:
            closed = tuple(
                msgspec.structs.replace(one, refused=True) if one.open else one
                for one in self._record.launches
            )
            self._write(msgspec.structs.replace(self._record, launches=closed))

    def _change(self, launch: Launch, **changes: object) -> None:
        with self._lock:
            changed = tuple(
                msgspec.structs.replace(one, **changes) if one.token == launch.token else one
                for one in self._record.launches
            )
            self._write(msgspec.structs.replace(self._record, launches=changed))

    def _write_first(self, record: CloudRecord) -> None:
        write_atomic(self._path, msgspec.json.format(msgspec.json.encode(record), indent=2))
        self._record = record

    def _write(self, record: CloudRecord) -> None:
        try:
            self._write_first(record)
        except FolderError as error:
            LOGGER.warning("%s", error)
            self._record = record


def with_late_instances(
    launches: tuple[Launch, ...], nodes: Iterable[CloudNode]
) -> tuple[Launch, ...]:
    """Return the launches; those without an answer get the unrecorded instances of their node.

    Parameters
    ----------
    launches : tuple of Launch
    nodes : iterable of CloudNode
        Instances of the run, as the API lists them.
    """
    known = {one.instance_id for one in launches}
    unknown = {one.node: one for one in nodes if one.instance_id not in known}
    changed = []
    for launch in launches:
        late = unknown.pop(launch.node, None) if launch.open else None
        changed.append(
            launch
            if late is None
            else msgspec.structs.replace(
                launch, instance_id=late.instance_id, launched_at=late.launched_at
            )
        )
    return tuple(changed)
