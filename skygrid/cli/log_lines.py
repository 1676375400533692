"""Incremental reading of the logs of a run's nodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from skygrid.errors import UsageError
from skygrid.util.regular_file import open_regular
from skygrid.util.terminal import printable, say

BLOCK = 2**20
"""Bytes that are read at once. A longer line is divided."""


class LogReader:
    """Reader of the ``*.log`` files in a folder; each call returns the lines added since the last.

    Parameters
    ----------
    folder : Path
        Need not exist yet.
    node : str, optional
        Read only the log of this node.
    """

    def __init__(self, folder: Path, node: str | None = None) -> None:
        self._folder = folder
        self._node = node
        self._read: dict[Path, int] = {}
        self._unreadable: set[Path] = set()

    def new_lines(self, *, to_the_end: bool) -> Iterator[str]:
        """Yield the lines added since the last call, each as ``node | line``.

        A log that cannot be read gives a warning on stderr.

        Parameters
        ----------
        to_the_end : bool
            Yield an unfinished last line too. If False, the next call returns it complete.

        Raises
        ------
        UsageError
            If the run has ended and has no such node.
        """
        paths = self._paths(expected=to_the_end)
        width = max((len(path.stem) for path in paths), default=0)
        for path in paths:
            for line in self._read_new(path, to_the_end=to_the_end):
                yield f"{path.stem:{width}} | {printable(line, len(line))}\n"

    def _paths(self, *, expected: bool) -> list[Path]:
        everything = sorted(self._folder.glob("*.log"))
        if self._node is None:
            return everything
        paths = [path for path in everything if path.stem == self._node]
        if not paths and expected:
            names = ", ".join(path.stem for path in everything) or "none at all"
            raise UsageError(f"there is no log of a node {self._node}; there are: {names}")
        return paths

    def _read_new(self, path: Path, *, to_the_end: bool) -> Iterator[str]:
        try:
            with open_regular(path) as file:
                file.seek(self._read.get(path, 0))
                end = os.fstat(file.fileno()).st_size
                while block := file.read(max(0, min(BLOCK, end - file.tell()))):
                    last = file.tell() >= end
                    lines = block.rfind(b"\n") + 1
                    # The next block, or call, begins with the unfinished line.
                    whole = block if not lines and not last else block[:lines]
                    if last and to_the_end:
                        whole = block
                    self._read[path] = self._read.get(path, 0) + len(whole)
                    file.seek(self._read[path])
                    yield from whole.decode("utf-8", errors="replace").splitlines()
                    if last:
                        return
        except OSError as error:
            if path not in self._unreadable:
                self._unreadable.add(path)
                say(f"warning: cannot read {path}: {error.strerror or error}")
