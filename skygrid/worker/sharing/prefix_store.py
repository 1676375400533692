"""Fitted first steps of pipelines, shared by the slots of a node.

A part is a blob file (see `blobs`) in a private folder. Every slot maps it privately, so that a fit
can write into its copy and memory is used once. The slot that first asks for a part makes it under
a lock while the others wait. A part that is not worth keeping, or cannot be kept exactly, leaves an
empty file, so that no slot waits for it again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from skygrid.worker.evaluation.shared_folder import STEPS, files_of, locked
from skygrid.worker.wire.blobs import ROOM_FACTOR, WRITE_BYTES, Blob, open_blob
from skygrid.worker.wire.messages.results import WarningNote

from .array_layout import LayoutPickler, copy_layout, has_layout

KEPT_BYTES = 2 * 1024**3
"""Most bytes of parts on one node; the least recently used part is deleted first."""

WORTH_SECONDS = 0.005
"""Parts made in less time are not kept: writing and mapping a part takes about a tenth of this."""

FITTED = frozenset({"fit", "state"})
"""Kinds of parts that are fits; other kinds are transformed data."""

_SPARSE = (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A part of a fit that can be shared with other fits on the same split."""

    value: Any
    notes: tuple[WarningNote, ...] = ()
    """Warnings raised while it was made."""

    exact: bool = True
    """True if other fits can use it."""


class Store(Protocol):
    """Storage of parts, by digest and kind: ``fit``, ``state``, ``test`` or ``train``."""

    def take(self, name: str, part: str, make: Callable[[], Made]) -> tuple[Made, bool]:
        """Return a copy of a part, made by `make` if needed, and True if it was stored."""


class PrefixStore:
    """Parts of one split, shared by the slots of a node.

    Parameters
    ----------
    folder : str
        Private to the user and to one round.
    split : int
    limit : int, optional
        Most bytes in the folder, by default `KEPT_BYTES`.
    clock : callable, optional
        Returns seconds; measures the time to make a part.
    """

    def __init__(
        self,
        folder: str,
        split: int,
        limit: int | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._split = split
        self._limit = KEPT_BYTES if limit is None else limit
        self._clock = clock or time.perf_counter
        self._asked: set[str] = set()
        self._refused: set[str] = set()
        self.taken_seconds = 0.0
        """Time in seconds that other fits spent on the reused fitted parts."""

    def take(self, name: str, part: str, make: Callable[[], Made]) -> tuple[Made, bool]:
        """Return a part, made by `make` if it is not stored, and True if it was stored."""
        path = self._folder / f"{self._split}-{STEPS}-{name}-{part}"
        if part in FITTED:
            self._asked.add(name)
        if (made := self._read(path, part)) is not None:
            return made, True
        with _locked(path) as mine:
            if (made := self._read(path, part)) is not None:
                return made, True
            start, taken = self._clock(), self.taken_seconds
            try:
                made = make()
            except BaseException:
                path.touch()  # slots that wait raise the same error at once
                raise
            if mine:
                # Making a part may reuse other parts; their time counts too.
                seconds = self._clock() - start + self.taken_seconds - taken
                self._keep(name, part, path, made, seconds)
            else:
                self._refuse(name, part)
            return made, False

    @property
    def futile(self) -> bool:
        """True if fits were requested and none of them is kept."""
        return bool(self._asked) and self._asked <= self._refused

    def _read(self, path: Path, part: str) -> Made | None:
        """Read a part from its file; None if the file is missing or empty."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size == 0:
                    return None
                value, seconds, notes = open_blob(file, size)
        except FileNotFoundError:  # not computed yet, or deleted to make room
            return None
        with contextlib.suppress(FileNotFoundError):  # a slot may have deleted it to make room
            os.utime(path)
        if part in FITTED:
            self.taken_seconds += seconds
        return Made(value=value, notes=notes)

    def _keep(self, name: str, part: str, path: Path, made: Made, seconds: float) -> None:
        blob = None
        if made.exact and seconds >= WORTH_SECONDS:
            # Objects that cannot be pickled are computed by each slot.
            with contextlib.suppress(pickle.PicklingError, TypeError, AttributeError):
                blob = Blob((made.value, seconds, made.notes), LayoutPickler)
        if blob is None or not self._make_room(blob.size):
            self._refuse(name, part)
            path.touch()
            return
        new = path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                for _, data in blob.chunks(WRITE_BYTES):
                    file.write(data)
            new.rename(path)
        except OSError:  # the disk is full: each slot makes the part itself
            new.unlink(missing_ok=True)
            path.touch()

    def _refuse(self, name: str, part: str) -> None:
        if part in FITTED:
            self._refused.add(name)

    def _make_room(self, size: int) -> bool:
        room = os.statvfs(self._folder)
        if size > self._limit or size * ROOM_FACTOR > room.f_bavail * room.f_frsize:
            return False
        parts = [(entry.stat(), entry.path) for entry in files_of(self._folder, STEPS)]
        used = sum(found.st_size for found, _ in parts)
        for found, path in sorted(parts, key=lambda part: part[0].st_mtime_ns):
            if used + size <= self._limit:
                break
            Path(path).unlink(missing_ok=True)  # slots that have mapped it keep their mapping
            used -= found.st_size
        return True


class OwnParts:
    """Parts that one group of candidates keeps in memory, as copies."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], Made] = {}

    def take(self, name: str, part: str, make: Callable[[], Made]) -> tuple[Made, bool]:
        """Return a part, made by `make` the first time, and True if it was stored."""
        kept = self._parts.get((name, part))
        if kept is not None:
            return _copy(kept), True
        made = make()
        if made.exact:
            self._parts[name, part] = _copy(made)
        return made, False


def _copy(made: Made) -> Made:
    value = made.value
    copied = copy_layout(value) if type(value) is np.ndarray else value.copy()
    return Made(value=copied, notes=made.notes)


def keeps_every_bit(output: Any, *inputs: Any) -> bool:
    """Return True if a copy can replace a transformer's output exactly.

    Parameters
    ----------
    output : object
    *inputs : object
        Data still in use. The output must not be a view of them: a step that writes into its input
        would change them.
    """
    if type(output) in _SPARSE:
        parts = (output.data, output.indices, output.indptr)
        others = [
            getattr(given, name, None) for given in inputs for name in ("data", "indices", "indptr")
        ]
        return not any(_overlap(part, other) for part in parts for other in others)
    if type(output) is not np.ndarray or output.dtype.hasobject:
        return False
    return has_layout(output) and not any(_overlap(output, given) for given in inputs)


def _overlap(output: np.ndarray[Any, Any], given: Any) -> bool:
    if isinstance(given, np.ndarray):
        return np.may_share_memory(output, given)
    if not hasattr(given, "dtypes") or output.base is None:
        return False
    # A frame of one block shares all its memory with `output`, other frames share single columns.
    return any(np.may_share_memory(output, column) for column in _columns(given))


def _columns(frame: Any) -> Iterator[np.ndarray[Any, Any]]:
    if hasattr(frame, "iter_columns"):  # polars
        return (column.to_numpy() for column in frame.iter_columns())
    if frame.ndim == 1:
        return iter([frame.to_numpy()])
    return (column.to_numpy() for _, column in frame.items())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a part's lock and yield True; yield False without a lock if its file exists."""
    if path.exists():
        yield False
        return
    with locked(f"{path}.lock"):
        yield True
