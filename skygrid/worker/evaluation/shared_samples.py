"""The samples of a split, taken out of a large X once per node.

scikit-learn takes the samples out of X for each fit, into memory of its own. With a slot for every
core this is many times X, and it may take longer than the fit. Here the slots write them together
into a file in memory, and each slot maps it privately: no fit sees the changes of another.

A file has the processor seconds that taking the rows took, the rows from byte 16, and the ledger of
`joint_file`. Allocated memory begins 16 bytes behind a page too, and a sum may depend on the
alignment of its numbers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from skygrid.worker.machine import machine
from skygrid.worker.machine.locks import is_named, try_lock
from skygrid.worker.wire.blobs import ROOM_FACTOR

from .joint_file import ledger_bytes, write_together
from .private_mapping import PrivateMapping
from .shared_folder import SAMPLES, files_of, is_memory, locked

PORTION_BYTES = 2 * 1024 * 1024
"""Bytes that are taken out of X at a time; a processor's cache holds them."""

LIMIT_FACTOR = 2
"""Most samples on a node, as a multiple of those of a split: the split that ends, and the next."""

LONG_FIT = 50
"""A fit is long if it takes this many times as long as taking its rows out of X. It would gain
little from shared rows: its own copy, with new memory, takes about three times as long."""

ROOMY_SHARE = 0.25
"""Share of the node's memory. If a copy of a split's samples for each slot fits into it, long fits
get copies.

The kernel uses huge pages for copies and small ones for files in memory. A tree that reads single
numbers all over X was 9 to 13 % slower with small pages."""

_HEADER = struct.Struct("<d8x")


class SharedSamples(np.ndarray[Any, Any]):
    """X for scikit-learn, with the rows of a split from the node's files; see `share_samples`.

    Indexing gives plain arrays, so an estimator never sees this class.
    """

    _samples: _Samples | None = None

    def __getitem__(self, key: Any) -> Any:
        if self._samples is not None:
            # scikit-learn asks for `X[indices, ...]`, some releases for `X[indices]`.
            rest = key[1:] if type(key) is tuple else ()
            indices = key[0] if len(rest) == 1 and rest[0] is Ellipsis else key
            rows = self._samples.rows(indices)
            if rows is not None:
                return rows
        return self.view(np.ndarray)[key]

    def take(self, *args: Any, **kwargs: Any) -> Any:
        """Take from the plain array. scikit-learn uses it where it dispatches by array API."""
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
        `can_share` is true for it.
    splits : sequence of (train, test)
        Arrays of indices of the round. Samples are found by the identity of these arrays.
    folder : str
        Folder that the node's slots share.
    slots : int
        Number of these slots.
    """
    if not can_share(X) or not is_memory(Path(folder)):
        return None
    shared: SharedSamples = X.view(SharedSamples)
    shared._samples = _Samples(X, splits, Path(folder), slots)
    return shared


class _Samples:
    """The files of samples, as one slot uses them."""

    def __init__(self, X: Any, splits: Sequence[tuple[Any, Any]], folder: Path, slots: int) -> None:
        self._X = X
        self._splits = splits  # its arrays are known by their ids as long as they live
        self._folder = folder
        self._row_bytes: int = X.nbytes // len(X)
        self._portion_rows: int = max(1, PORTION_BYTES // self._row_bytes)
        self._mappings: dict[Path, PrivateMapping] = {}
        """Mappings of the last requested split, by the path of the file."""

        self._paths: dict[int, Path] = {}
        most = 0
        for split, (train, test) in enumerate(splits):
            if train is not test and are_rows(train, X) and are_rows(test, X):
                self._paths[id(train)] = folder / f"{split}-{SAMPLES}-train"
                self._paths[id(test)] = folder / f"{split}-{SAMPLES}-test"
                most = max(most, sum(self._file_bytes(len(indices)) for indices in (train, test)))
        self._limit = LIMIT_FACTOR * most
        self._roomy = most * slots <= ROOMY_SHARE * machine.memory_bytes()
        self._take_seconds = 0.0
        self._lengths = (0.0, 0.0)  # of this slot's last two fits, in processor seconds

        self.handed_out = False
        """True if rows of a file were handed out since this was last set to False."""

        self.left_aside = False
        """True while fits get their own copies."""

    def rows(self, indices: object) -> Any:
        """Return the rows of X at a split's indices; None if they are to be taken from X."""
        path = self._paths.get(id(indices))
        if path is None:
            return None
        if self.left_aside or self._is_long():
            self._mappings.clear()
            return None
        found = None
        # If a file cannot be made, found or mapped, the fit gets a copy.
        with contextlib.suppress(OSError, ValueError, TypeError, struct.error):
            found = self._found(path, indices)
        self.handed_out |= found is not None
        return found

    def remember_length(self, seconds: float) -> None:
        """Remember the processor time of a fit of this slot, in seconds."""
        self._lengths = (self._lengths[-1], seconds)

    def _is_long(self) -> bool:
        # The shorter of two: a fit that imports modules is not a long one.
        return self._roomy and min(self._lengths) > LONG_FIT * self._take_seconds > 0

    def _found(self, path: Path, indices: Any) -> Any:
        """Return these rows; None if they are not shared."""
        self._drop_other_splits(_split_of(path.name))
        while (found := self._mapped(path, len(indices))) is None:
            # A slot that goes on to another split may remove the file before it is mapped here.
            if not self._make(path, indices):
                return None
        return found

    def _drop_other_splits(self, split: str) -> None:
        # A file that a slot has mapped cannot be removed.
        self._mappings = {p: m for p, m in self._mappings.items() if _split_of(p.name) == split}

    def _mapped(self, path: Path, count: int) -> Any:
        mapping = self._mappings.get(path)
        if mapping is None or not mapping.pristine:
            try:
                file = path.open("rb")
            except FileNotFoundError:  # not written yet, or removed to make room
                return None
            with file:
                fcntl.flock(file, fcntl.LOCK_SH)  # held until the rows are gone, see `_is_unused`
                if not is_named(file.fileno(), path):  # removed before the lock
                    return None
                mapping = self._mappings[path] = PrivateMapping(file)
        (seconds,) = _HEADER.unpack(mapping.head(_HEADER.size))
        self._take_seconds = max(self._take_seconds, seconds)
        return mapping.array((count, *self._X.shape[1:]), self._X.dtype, _HEADER.size)

    def _make_room(self, path: Path, size: int) -> bool:
        """Remove files that no fit on this node uses; return whether there is room for a file."""
        split, used = _split_of(path.name), 0
        for entry in files_of(self._folder, SAMPLES):
            with contextlib.suppress(FileNotFoundError):  # just removed
                if _split_of(entry.name) != split and _is_unused(entry.path):
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

    def _make(self, path: Path, indices: Any) -> bool:
        """Make a file, together with other slots; return False if no slot makes it."""
        new = Path(f"{path}.new")
        file = self._open_new(path, new, len(indices))
        if file is None:
            return path.exists()
        with file:
            try:
                seconds = write_together(
                    file.fileno(),
                    _HEADER.size + len(indices) * self._row_bytes,
                    self._portions(len(indices)),
                    lambda number: self._write(file.fileno(), indices, number),
                )
                with locked(f"{self._folder / SAMPLES}.lock"):
                    if is_named(file.fileno(), new):
                        _write_all(file.fileno(), _HEADER.pack(seconds), 0)
                        new.rename(path)
            except BaseException:
                if is_named(file.fileno(), new):
                    new.unlink()
                raise
        return True

    def _open_new(self, path: Path, new: Path, count: int) -> IO[bytes] | None:
        """Open the file to be written, which another slot may have begun; None: do not write it."""
        # The full size and the lock show the next slot that the file takes room and is in use.
        with locked(f"{self._folder / SAMPLES}.lock"):
            if path.exists():
                return None
            if not new.exists():
                size = self._file_bytes(count)
                if not self._make_room(path, size):
                    return None
                new.touch(0o600, exist_ok=False)
                os.truncate(new, size)
            file = new.open("r+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_SH)
            return file

    def _file_bytes(self, count: int) -> int:
        ledger = ledger_bytes(self._portions(count))
        return _HEADER.size + count * self._row_bytes + ledger

    def _portions(self, count: int) -> int:
        return -(-count // self._portion_rows)

    def _write(self, file: int, indices: Any, number: int) -> float:
        """Write one portion; return the processor seconds of taking it out of X."""
        first = number * self._portion_rows
        start = time.thread_time()
        rows = self._X[indices[first : first + self._portion_rows], ...]
        seconds = time.thread_time() - start
        data = rows.reshape(-1).view(np.uint8).data
        _write_all(file, data, _HEADER.size + first * self._row_bytes)
        return seconds


def _split_of(name: str) -> str:
    return name.partition("-")[0]


def _write_all(file: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _is_unused(path: str) -> bool:
    """Return whether no slot maps or writes this file."""
    with open(path, "rb") as file:
        return try_lock(file.fileno(), fcntl.LOCK_EX)


def can_share(X: Any) -> bool:
    """Return whether the samples of X are rows of numbers that a file can hold."""
    if type(X) not in (np.ndarray, np.memmap) or X.dtype.kind not in "biufc" or not X.nbytes:
        return False
    # NumPy's selection from either is in C order.
    return bool(X.flags.c_contiguous or (X.flags.f_contiguous and X.ndim == 2))


def samples_bytes(X: Any, splits: Sequence[tuple[Any, Any]]) -> int:
    """Return the largest size of a split's training samples in bytes."""
    longest = max((len(train) for train, _ in splits if are_rows(train, X)), default=0)
    return longest * (int(X.nbytes) // len(X))


def are_rows(indices: object, X: Any) -> bool:
    """Return whether indices are valid positions of rows, not a mask."""
    if type(indices) is not np.ndarray or indices.ndim != 1 or indices.dtype.kind not in "iu":
        return False
    return bool(len(indices)) and -len(X) <= indices.min() and indices.max() < len(X)
