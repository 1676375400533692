"""The samples of a split, copied from a large X once per node.

scikit-learn copies them for each fit, which takes many times the memory of X with a slot per core.
Here the first slot that needs them writes them to a file in memory, under a lock. Each fit maps the
file privately: no other fit sees its changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skygrid.worker.machine import machine
from skygrid.worker.wire.blobs import ROOM_FACTOR

from .shared_folder import SAMPLES, files_of, is_memory, locked

PORTION_BYTES = 2 * 1024 * 1024
"""Bytes copied from X at a time, about; they fit into a processor's cache."""

LIMIT_FACTOR = 2
"""Limit of the files on a node, as a multiple of the largest split's samples: one split ends while
the next one starts."""

LONG_FIT_BYTES = 20_000_000
"""Bytes of samples per second of a fit below which the fit is long: it takes some fifty times as
long as copying its samples, so sharing them gains little."""

ROOMY_SHARE = 0.25
"""Share of the node's memory. If copies of a split's samples for every slot fit into it, long fits
get their own copies.

The kernel puts copies on huge pages and files in memory on small ones. A tree that gathers single
numbers from all over X was 9 to 13 % slower on small pages."""

OFFSET = 16
"""Bytes before the rows in a file. Allocated memory has the same offset from the start of a page,
and the last bits of a sum may depend on the alignment of its numbers."""


class SharedSamples(np.ndarray[Any, Any]):
    """X for scikit-learn: the rows of a split come from the node's files.

    Indexing returns plain arrays, so an estimator never sees this class. Made by `share_samples`.
    """

    _samples: _Samples | None = None

    def __getitem__(self, key: Any) -> Any:
        if self._samples is not None:
            # scikit-learn uses `X[indices, ...]`, some releases `X[indices]`.
            rest = key[1:] if type(key) is tuple else ()
            indices = key[0] if len(rest) == 1 and rest[0] is Ellipsis else key
            rows = self._samples.rows(indices)
            if rows is not None:
                return rows
        return self.view(np.ndarray)[key]

    def take(self, *args: Any, **kwargs: Any) -> Any:
        """Take as a plain array does; scikit-learn calls this with array API dispatch."""
        return self.view(np.ndarray).take(*args, **kwargs)

    @property
    def samples(self) -> _Samples:
        """The files of the samples."""
        assert self._samples is not None  # `share_samples` sets it
        return self._samples


def share_samples(
    X: Any, splits: Sequence[tuple[Any, Any]], folder: str, slots: int
) -> SharedSamples | None:
    """Return X for scikit-learn; None if its samples cannot be shared.

    Parameters
    ----------
    X : ndarray
    splits : sequence of (train, test)
        Index arrays of the round; samples are identified by these objects, not by their values.
    folder : str
        Folder that the node's slots share.
    slots : int
        Number of slots of the node.
    """
    if not can_share(X) or not is_memory(Path(folder)):
        return None
    shared: SharedSamples = X.view(SharedSamples)
    shared._samples = _Samples(X, splits, Path(folder), slots)
    return shared


class _Samples:
    """The files of samples, as used by one slot."""

    def __init__(self, X: Any, splits: Sequence[tuple[Any, Any]], folder: Path, slots: int) -> None:
        self._X = X
        self._splits = splits  # keeps the arrays alive, so that their ids stay valid
        self._folder = folder
        self._row_bytes: int = X.nbytes // len(X)
        self._portion_rows: int = max(1, PORTION_BYTES // self._row_bytes)
        self._paths: dict[int, Path] = {}
        most = 0
        for split, (train, test) in enumerate(splits):
            if train is not test and are_rows(train, X) and are_rows(test, X):
                self._paths[id(train)] = folder / f"{split}-{SAMPLES}-train"
                self._paths[id(test)] = folder / f"{split}-{SAMPLES}-test"
                most = max(most, self._file_bytes(train) + self._file_bytes(test))
        self._limit = LIMIT_FACTOR * most
        self._roomy = most * slots <= ROOMY_SHARE * machine.memory_bytes()
        self._long_seconds = most / LONG_FIT_BYTES
        self._lengths = (0.0, 0.0)  # seconds of this slot's last two fits

        self.handed_out = False
        """True if rows of a file were handed out since this was last set to False."""

        self.left_aside = False
        """True while fits get their own copies."""

    def rows(self, indices: Any) -> Any:
        """Return the rows of X at a split's indices; None if they must be copied from X."""
        path = self._paths.get(id(indices))
        if path is None or self.left_aside or self._is_long():
            return None
        rows = None
        # If the file cannot be made, found or mapped, the fit gets a copy.
        with contextlib.suppress(OSError):
            self._make(path, indices)
            rows = self._mapped(path, len(indices))
        self.handed_out |= rows is not None
        return rows

    def remember_length(self, seconds: float) -> None:
        """Remember the seconds that a fit of this slot took."""
        self._lengths = (self._lengths[-1], seconds)

    def _is_long(self) -> bool:
        # The shorter of the last two: one of them may have waited for a core.
        return self._roomy and min(self._lengths) > self._long_seconds

    def _mapped(self, path: Path, count: int) -> Any:
        """Map the rows of a file; return None if there is no file."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            # The mapping keeps the lock until the rows are freed.
            fcntl.flock(file, fcntl.LOCK_SH)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.ndarray((count, *self._X.shape[1:]), self._X.dtype, mapped, OFFSET)

    def _make_room(self, path: Path, size: int) -> bool:
        """Delete unused files of other splits; return whether a new file then has room."""
        split, used = _split_of(path.name), 0
        for entry in files_of(self._folder, SAMPLES):
            with contextlib.suppress(FileNotFoundError):  # just deleted
                # This slot holds the lock, so a .new file was left by a killed slot.
                over = _split_of(entry.name) != split and _is_unused(entry.path)
                if over or entry.name.endswith(".new"):
                    os.unlink(entry.path)
                else:
                    used += entry.stat().st_size
        room = os.statvfs(self._folder)
        free = room.f_bavail * room.f_frsize
        available = machine.available_bytes()
        wanted = size * ROOM_FACTOR
        return (
            used + size <= self._limit
            and wanted <= free
            and (available is None or wanted <= available)
        )

    def _make(self, path: Path, indices: Any) -> None:
        """Write a file if it is missing and has room."""
        if path.exists():
            return
        with locked(f"{self._folder / SAMPLES}.lock"):
            if path.exists() or not self._make_room(path, self._file_bytes(indices)):
                return
            new = Path(f"{path}.new")
            try:
                self._write(new, indices)
                new.rename(path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise

    def _file_bytes(self, indices: Any) -> int:
        return OFFSET + len(indices) * self._row_bytes

    def _write(self, path: Path, indices: Any) -> None:
        with path.open("wb", buffering=0) as file:
            file.seek(OFFSET)
            for first in range(0, len(indices), self._portion_rows):
                rows = self._X[indices[first : first + self._portion_rows], ...]
                data = rows.reshape(-1).view(np.uint8).data
                while data:
                    data = data[file.write(data) :]


def _split_of(name: str) -> str:
    return name.partition("-")[0]


def _is_unused(path: str) -> bool:
    """Return whether no slot has mapped this file."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def can_share(X: Any) -> bool:
    """Return whether the samples of X are rows of numbers that a file can hold."""
    if type(X) not in (np.ndarray, np.memmap) or X.dtype.kind not in "biufc" or not X.nbytes:
        return False
    # Rows picked from either are in C order.
    return bool(X.flags.c_contiguous or (X.flags.f_contiguous and X.ndim == 2))


def samples_bytes(X: Any, splits: Sequence[tuple[Any, Any]]) -> int:
    """Return the bytes of the largest split's training samples."""
    longest = max((len(train) for train, _ in splits if are_rows(train, X)), default=0)
    return longest * (int(X.nbytes) // len(X))


def are_rows(indices: object, X: Any) -> bool:
    """Return whether indices are valid positions of rows, not a mask."""
    if type(indices) is not np.ndarray or indices.ndim != 1 or indices.dtype.kind not in "iu":
        return False
    return bool(len(indices)) and -len(X) <= indices.min() and indices.max() < len(X)
