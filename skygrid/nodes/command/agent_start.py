"""The line that starts an agent in a shell on a node, and the code that follows it."""

from __future__ import annotations

import functools
import io
import shlex
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skygrid.environment.kit import worker_code
from skygrid.nodes.command.boot import MARK

__all__ = ["AGENT", "ANY_PYTHON", "MARK", "MINOR", "AgentStart"]

AGENT = "sh"
"""Stands for ``{agent}``. The shell reads all else from its standard input, so the word survives
any number of shells on its way (``ssh``, ``bash -lc``, quotes) and any command line of a container.
"""

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
ANY_PYTHON = ("python3", f"python{MINOR}", "python")
"""Names that a Python may have on a node."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class AgentStart:
    """Program, code and arguments with which a shell on a node starts an agent."""

    arguments: Sequence[str]
    """Command-line arguments of the agent."""

    hash_seed: int
    """PYTHONHASHSEED of the agent."""

    shared: bool = False
    """True if the node has this Python and skygrid at the same paths."""

    pythons: Sequence[str]
    """Pythons on the node; the first one that fits is taken."""

    @property
    def line(self) -> bytes:
        """Command for the shell, ended by a line break."""
        words = [
            *("exec", "sh", "-c", _script(), "skygrid", _program()),
            *("\n".join(self.pythons), MINOR, str(len(self.code)), str(self.hash_seed)),
        ]
        return f"{shlex.join([*words, *self.arguments])}\n".encode()

    @property
    def code(self) -> bytes:
        """Bytes to send after `MARK`: a zip file of the worker's code; empty if shared."""
        return b"" if self.shared else _zipped()


@functools.cache
def _script() -> str:
    return (_FOLDER / "start.sh").read_text(encoding="utf-8")


@functools.cache
def _program() -> str:
    return (_FOLDER / "boot.py").read_text(encoding="utf-8")


@functools.cache
def _zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in worker_code():
            archive.writestr(name, data)
    return packed.getvalue()
