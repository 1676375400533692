"""Verification of the worker's code on a node, where it is kept between runs."""

from __future__ import annotations

import contextlib
import hashlib
import marshal
from collections.abc import Mapping
from pathlib import Path

NOT_READY_EXIT = 76
"""Exit status on a node without the environment or the code, or with damaged code."""

BYTECODE_HEADER = 16
"""Bytes before the code object of a .pyc file (PEP 552)."""


def code_digest(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of names and contents; the names are those in a kit."""
    parts = sorted(f"{name}\0{hashlib.sha256(data).hexdigest()}" for name, data in files.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_intact(folder: Path, key: str) -> bool:
    """Return True if the code in a folder is that of the key, the first digits of its digest.

    Damaged bytecode is removed, and Python compiles it anew.
    """
    try:
        files = {
            f"code/{path.relative_to(folder).as_posix()}": path.read_bytes()
            for path in folder.rglob("*.py")
        }
    except OSError:  # code that cannot be read is damaged
        return False
    for path in folder.rglob("*.pyc"):
        _remove_if_damaged(path)
    return code_digest(files).startswith(key)


def _remove_if_damaged(bytecode: Path) -> None:
    try:
        marshal.loads(bytecode.read_bytes()[BYTECODE_HEADER:])
    except (EOFError, ValueError, TypeError):
        bytecode.unlink(missing_ok=True)
    except OSError:
        # Another process replaced or removed it, or it cannot be read: Python ignores it then.
        return


def refuse(folder: Path) -> None:
    """Mark a folder of code as damaged, so that the next preparation replaces it."""
    with contextlib.suppress(FileNotFoundError):  # marked by another bridge
        (folder / "ready").unlink()
