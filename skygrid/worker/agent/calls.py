"""A round of calls on a node: arguments to the slots, results to the driver.

Arguments and large results are files in the folder that the slots share.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from skygrid.worker.errors import UnableError
from skygrid.worker.evaluation.call_arrays import BLOBS_FOLDER, blob_path
from skygrid.worker.evaluation.calls import payload_path, result_path
from skygrid.worker.limits import CHUNK_BYTES
from skygrid.worker.slots.pool import SlotDeath
from skygrid.worker.slots.slot_news import SlotNews
from skygrid.worker.wire.frames import FrameError
from skygrid.worker.wire.messages.calls import Call, CallDone, CallReport, ResultPart
from skygrid.worker.wire.messages.to_agent import Lease

from .data import AgentData
from .round import AgentRound


class AgentCalls(AgentRound):
    """Runs the calls of one round on the slots.

    Parameters
    ----------
    *args, **options
        As for `AgentRound`.
    folder : Path
        Folder that the slots share.
    data : AgentData
        Has the blobs that calls refer to.
    """

    def __init__(self, *args: Any, folder: Path, data: AgentData, **options: Any) -> None:
        super().__init__(*args, **options)
        self._folder = str(folder)
        self._data = data
        self._payloads: set[int] = set()
        """Leases whose arguments are in a file."""

        self._ended_calls: list[CallDone] = []
        (folder / BLOBS_FOLDER).mkdir()

    # -- arguments

    def called(self, leases: list[Lease], calls: Sequence[Call]) -> None:
        """Add leases that have arrived, with their arguments.

        Raises
        ------
        UnableError
            If the arguments cannot be stored.
        """
        try:
            for call in calls:
                for name in call.blobs:
                    self._offer_blob(name)
                Path(payload_path(self._folder, call.lease)).write_bytes(call.data)
                self._payloads.add(call.lease)
        except OSError as error:
            raise UnableError(f"the arguments of calls cannot be stored: {error}") from error
        self.granted(leases)

    def _offer_blob(self, name: str) -> None:
        """Make a blob visible to the slots."""
        path = blob_path(self._folder, name)
        if not os.path.lexists(path):
            file, _ = self._data.store.file(name)
            _link(file, path)

    def drop_blobs(self, names: Iterable[str]) -> None:
        """Delete blobs that no lease needs."""
        for name in names:
            Path(blob_path(self._folder, name)).unlink(missing_ok=True)

    def _watch(self, now: float) -> None:
        super()._watch(now)
        for lease in [one for one in self._payloads if not self._backlog.holds(one)]:
            self._payloads.discard(lease)
            Path(payload_path(self._folder, lease)).unlink(missing_ok=True)

    # -- results

    def _take_news(self, news: Iterable[SlotNews]) -> None:
        for done in [piece.call for piece in news if piece.call]:
            if self._backlog.accept([done]):
                self._empty_deaths = 0
                path = result_path(self._folder, done.lease) if done.size else ""
                self._ended_calls.append(msgspec.structs.replace(done, path=path))
            else:
                self._delete_result(done.lease)

    def turn(self, now: float, *, asks: bool, speaks: bool) -> None:
        # Each end lets the driver hand out the next call, so none waits for others.
        if self._ended_calls:
            ended, self._ended_calls = self._ended_calls, []
            self._report(ended)
        super().turn(now, asks=asks, speaks=speaks)

    def _report(self, ended: list[CallDone]) -> None:
        try:
            self._driver.send(CallReport(round=self.number, results=ended))
        except FrameError:  # too large together; a single one never is
            half = len(ended) // 2
            self._report(ended[:half])
            self._report(ended[half:])

    def pause_seconds(self, now: float) -> float:
        return 0.0

    def fetch(self, lease: int, offset: int) -> None:
        """Send the part of a result that begins at an offset; delete the result at its end."""
        path = result_path(self._folder, lease)
        try:
            with open(path, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), CHUNK_BYTES, offset)
        except FileNotFoundError:  # a cleaner of temporary files removed it
            data, offset = b"", 0
        if data or not offset:
            self._driver.send(ResultPart(round=self.number, lease=lease, offset=offset, data=data))
        else:
            self._delete_result(lease)

    def _tell_death(self, death: SlotDeath) -> None:
        super()._tell_death(death)
        if death.status.lease:
            self._delete_result(death.status.lease)

    def _delete_result(self, lease: int) -> None:
        Path(result_path(self._folder, lease)).unlink(missing_ok=True)


def _link(file: IO[bytes], path: str) -> None:
    """Give an open file without a name a path, until its process closes it; see proc(5)."""
    inside = f"/proc/{os.getpid()}/fd/{file.fileno()}"
    if os.path.exists(inside):
        os.symlink(inside, path)
        return
    with open(path, "wb") as copy:  # there is no /proc
        file.seek(0)
        shutil.copyfileobj(file, copy)
