"""The logs of a run's nodes, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skygrid.errors import UsageError
from skygrid.util.terminal_text import printable


class LogReader:
    """Reads ``*.log`` of a folder, and at each later look what was added since.

    Parameters
    ----------
    folder : Path
        It may come to be later.
    node : str, optional
        Read the log of this node alone.
    """

    def __init__(self, folder: Path, node: str | None = None) -> None:
        self._folder = folder
        self._node = node
        self._read: dict[Path, int] = {}

    def new_lines(self, *, to_the_end: bool) -> Iterator[str]:
        """Yield the lines that no earlier look has seen, each as ``node | line``.

        Parameters
        ----------
        to_the_end : bool
            Whether a last line that has no end yet is yielded too; otherwise it is left for the
            next look, which will see it whole.

        Raises
        ------
        UsageError
            There is no such node, and there will be none as the run has ended.
        """
        paths = self._paths(expected=to_the_end)
        width = max((len(path.stem) for path in paths), default=0)
        for path in paths:
            for line in self._added(path, to_the_end=to_the_end):
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

    def _added(self, path: Path, *, to_the_end: bool) -> list[str]:
        start = self._read.get(path, 0)
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
        if not to_the_end:
            content = content[: content.rfind(b"\n") + 1]
        self._read[path] = start + len(content)
        return content.decode("utf-8", errors="replace").splitlines()
