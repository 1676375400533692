"""The samples of a split, taken out of a large X once per node.

scikit-learn takes them anew for each fit, into memory of the fit's own: with a slot for every core
that is many times X. Here the slot that needs them first writes them to a file in memory, under a
lock, and each fit maps the file privately: what a fit writes into its samples no other fit sees.
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
"""About what is taken out of X at a time; a processor's cache holds it."""

LIMIT_FACTOR = 2
"""Most samples in use on a node, as a multiple of a split's: of one that ends, and the next."""

LONG_FIT_BYTES = 20_000_000
"""Bytes of samples for each second of a fit, below which the fit is a long one: it takes some fifty
times what it takes to copy its samples, and would hardly gain from sharing them."""

ROOMY_SHARE = 0.25
"""Of a node's memory: where a split's samples for every slot fit into that, memory is not scarce.

Long fits then have copies of their own. The kernel puts those on huge pages and files in memory on
small ones; a tree that gathers single numbers from all over X was 9 to 13 % slower on these."""

OFFSET = 16
"""Bytes before the rows in a file: allocated memory begins as far behind the start of a page, and
the last bits of a sum may depend on how its numbers are aligned."""


class SharedSamples(np.ndarray[Any, Any]):
    """X as it is handed to scikit-learn: the rows of a split come from the node's files.

    They come as plain arrays, and all else that is picked out of it as well: an estimator never
    sees this class. Made by `share_samples`.
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
        """As of a plain array: so scikit-learn asks where it dispatches by array API."""
        return self.view(np.ndarray).take(*args, **kwargs)

    @property
    def samples(self) -> _Samples:
        """What knows the files."""
        assert self._samples is not None  # `share_samples` sets it
        return self._samples


def share_samples(
    X: Any, splits: Sequence[tuple[Any, Any]], folder: str, slots: int
) -> SharedSamples | None:
    """X as it is handed to scikit-learn, None where its samples cannot be shared.

    Parameters
    ----------
    X : ndarray
        One that `can_share`.
    splits : sequence of (train, test)
        The round's own arrays of indices: samples are known by these very objects.
    folder : str
        What the node's slots share.
    slots : int
        How many they are.
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
        self._lengths = (0.0, 0.0)  # of this slot's last two fits, in seconds

        self.handed_out = False
        """Whether anything was, since this was last said to be not so."""

        self.left_aside = False
        """Whether each fit has its own samples for now."""

    def rows(self, indices: Any) -> Any:
        """The rows of X at a split's indices; None where X itself is to be asked."""
        path = self._paths.get(id(indices))
        if path is None or self.left_aside or self._is_long():
            return None
        rows = None
        # Files that cannot be made, mapped or found are no obstacle to a fit: it has a copy.
        with contextlib.suppress(OSError):
            self._make(path, indices)
            rows = self._mapped(path, len(indices))
        self.handed_out |= rows is not None
        return rows

    def remember_length(self, seconds: float) -> None:
        """Take note of what a fit of this slot took."""
        self._lengths = (self._lengths[-1], seconds)

    def _is_long(self) -> bool:
        # The shorter of two: a fit that had to wait for a core is not a long one.
        return self._roomy and min(self._lengths) > self._long_seconds

    def _mapped(self, path: Path, count: int) -> Any:
        """Rows of a file, None where there is none."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            # The mapping has the lock as well: it is held until the rows are gone.
            fcntl.flock(file, fcntl.LOCK_SH)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.ndarray((count, *self._X.shape[1:]), self._X.dtype, mapped, OFFSET)

    def _make_room(self, path: Path, size: int) -> bool:
        """Drop what no fit on this node uses now; whether there is room for a file then."""
        split, used = _split_of(path.name), 0
        for entry in files_of(self._folder, SAMPLES):
            with contextlib.suppress(FileNotFoundError):  # given back just now
                # A new file here is one whose maker was killed: the lock is ours.
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
        """Write a file, if it is missing and there is room for it."""
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
    """Whether no slot has mapped this file."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def can_share(X: Any) -> bool:
    """Whether the samples of X are plain rows of numbers, such as a file can hold."""
    if type(X) not in (np.ndarray, np.memmap) or X.dtype.kind not in "biufc" or not X.nbytes:
        return False
    # What NumPy picks out of either is in C order.
    return bool(X.flags.c_contiguous or (X.flags.f_contiguous and X.ndim == 2))


def samples_bytes(X: Any, splits: Sequence[tuple[Any, Any]]) -> int:
    """Most bytes that the training samples of a split take."""
    longest = max((len(train) for train, _ in splits if are_rows(train, X)), default=0)
    return longest * (int(X.nbytes) // len(X))


def are_rows(indices: object, X: Any) -> bool:
    """Whether these are positions of rows, rather than a mask or what would be an error."""
    if type(indices) is not np.ndarray or indices.ndim != 1 or indices.dtype.kind not in "iu":
        return False
    return bool(len(indices)) and -len(X) <= indices.min() and indices.max() < len(X)
