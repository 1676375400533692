"""What a slot has fitted at the beginning of a pipeline, kept for the other slots of its node.

A part is a file in a folder of the node's own, a blob (see `blobs`) that every slot maps privately:
each fit has a fresh copy, which its next steps may write into, and memory is spent once. The slot
that asks for a part first makes it under a lock, and the others wait for it. A part that is not
worth keeping, or cannot be kept exactly, leaves an empty file, so that nobody waits for it again.
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
from skygrid.worker.wire.messages import WarningNote

from .array_layout import LayoutPickler, copy_layout, has_layout

KEPT_BYTES = 2 * 1024**3
"""Most bytes of parts on one node; the part that was not used for longest goes first."""

WORTH_SECONDS = 0.005
"""A part that is made faster than this is not kept: writing and mapping one takes about a tenth."""

FITTED = frozenset({"fit", "state"})
"""Parts that are fits; the others are data that a fit has transformed."""

_SPARSE = (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A part of a fit that other fits on the same split have too."""

    value: Any
    notes: tuple[WarningNote, ...] = ()
    """Warnings that came with it."""

    exact: bool = True
    """Whether others may have it."""


class Store(Protocol):
    """Where parts are kept: ``fit``, ``state``, ``test`` and ``train`` of what a digest names."""

    def take(self, name: str, part: str, make: Callable[[], Made]) -> tuple[Made, bool]:
        """A part, a fresh copy of its own, and whether it was there."""


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
        Measures what it takes to make a part, in seconds.
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
        """Time that other fits spent on the fitted parts that were taken from them."""

    def take(self, name: str, part: str, make: Callable[[], Made]) -> tuple[Made, bool]:
        """A part, made by `make` where nobody has it yet."""
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
                path.touch()  # whoever waits for it finds the same error without waiting
                raise
            if mine:
                # A part may itself begin with parts of other fits.
                seconds = self._clock() - start + self.taken_seconds - taken
                self._keep(name, part, path, made, seconds)
            else:
                self._refuse(name, part)
            return made, False

    @property
    def futile(self) -> bool:
        """Whether no fit of all that were asked for is kept."""
        return bool(self._asked) and self._asked <= self._refused

    def _read(self, path: Path, part: str) -> Made | None:
        """Read a part from its file; None where the file is not there or is empty."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size == 0:
                    return None
                value, seconds, notes = open_blob(file, size)
        except FileNotFoundError:
            return None
        with contextlib.suppress(FileNotFoundError):  # it may just have been given back
            os.utime(path)
        if part in FITTED:
            self.taken_seconds += seconds
        return Made(value=value, notes=notes)

    def _keep(self, name: str, part: str, path: Path, made: Made, seconds: float) -> None:
        blob = None
        if made.exact and seconds >= WORTH_SECONDS:
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
        except OSError:  # no room after all: the part is made again by whoever needs it
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
            Path(path).unlink(missing_ok=True)  # who has mapped it keeps it
            used -= found.st_size
        return True


class OwnParts:
    """Parts that one group of candidates keeps for itself, as copies in memory."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], Made] = {}

    def take(self, name: str, part: str, make: Callable[[], Made]) -> tuple[Made, bool]:
        """A part, made by `make` the first time."""
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
    """Whether a transformer's output is of a kind that a copy replaces exactly.

    Parameters
    ----------
    output : object
    *inputs : object
        What a fit still has and output must not be a view of: a step that writes into its input
        would be seen there.
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
    # A frame hands its own memory out: all of it where it is one block, else column by column.
    return any(np.may_share_memory(output, column) for column in _columns(given))


def _columns(frame: Any) -> Iterator[np.ndarray[Any, Any]]:
    if hasattr(frame, "iter_columns"):  # polars
        return (column.to_numpy() for column in frame.iter_columns())
    if frame.ndim == 1:
        return iter([frame.to_numpy()])
    return (column.to_numpy() for _, column in frame.items())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a part's lock; False, without one, where the part is known not to be kept."""
    if path.exists():
        yield False
        return
    with locked(f"{path}.lock"):
        yield True
