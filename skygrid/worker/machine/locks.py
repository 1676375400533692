"""File locks, which the kernel releases when their process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def try_lock(descriptor: int, lock: int) -> bool:
    """Lock a file with flock(2) without waiting; return False if another process holds it."""
    try:
        fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
    except BlockingIOError:  # held by another process
        return False
    return True


def is_named(descriptor: int, path: Path) -> bool:
    """Return True if the path names this open file: it may be removed or replaced before the lock
    is taken, which then protects nothing."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:  # removed
        return False
